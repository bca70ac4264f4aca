//! The language of a question.

/// A language that prompts and refusals exist in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// English, and every language that is not written in Arabic letters: the prompt tells the model to answer in the
    /// language of the question.
    English,
    /// Persian, and every language written in Arabic letters.
    Persian,
}

impl Language {
    /// The code of ISO 639-1.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Persian => "fa",
        }
    }
}

/// The language that a question should be answered in.
///
/// The two differ by script, so the script decides, which works from the first word on where statistics need a
/// paragraph. Words count, not letters: a Persian question about "International Financial Reporting Standards" is a
/// Persian question. At least two words in five in Arabic letters make it one.
#[must_use]
pub fn language(question: &str) -> Language {
    let (mut arabic, mut all) = (0_usize, 0_usize);
    for word in question.split(|c: char| !c.is_alphabetic() && !is_joiner_or_mark(c)) {
        if word.chars().any(char::is_alphabetic) {
            all += 1;
            arabic += usize::from(word.chars().any(is_arabic));
        }
    }
    if arabic > 0 && arabic * 5 >= all * 2 { Language::Persian } else { Language::English }
}

/// Characters within a word that are not letters: joiners and vowel marks.
fn is_joiner_or_mark(letter: char) -> bool {
    matches!(letter, '\u{200c}' | '\u{200d}' | '\u{064b}'..='\u{065f}' | '\u{0670}' | '\'' | '’')
}

/// Letters of the Arabic script, presentation forms among them.
fn is_arabic(letter: char) -> bool {
    letter.is_alphabetic()
        && matches!(letter, '\u{0600}'..='\u{06ff}' | '\u{0750}'..='\u{077f}' | '\u{08a0}'..='\u{08ff}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_the_words_decides() {
        for (question, expected) in [
            ("What is the notice period?", Language::English),
            ("مهلت فسخ قرارداد چقدر است؟", Language::Persian),
            ("OpenAI چیست؟", Language::Persian),
            ("استاندارد International Financial Reporting Standards چه می‌گوید؟", Language::Persian),
            ("What does the word کتاب mean here?", Language::English),
            ("ﺳﻼﻡ", Language::Persian),
            ("Was kostet das?", Language::English),
            ("2023?", Language::English),
            ("", Language::English),
        ] {
            assert_eq!(language(question), expected, "{question}");
        }
    }
}
