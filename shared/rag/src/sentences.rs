//! Sentences of Persian and English text, as slices of it.

/// A longer run without an end mark (a table, a list without stops) is cut at a space, in characters.
const LONGEST_CHARS: usize = 400;

/// Words before a full stop that do not end a sentence, in lower case.
const ABBREVIATIONS: &[&str] = &[
    "art", "ca", "cf", "co", "corp", "dr", "e.g", "ed", "eq", "etc", "fig", "i.e", "inc", "ltd", "mr", "mrs",
    "ms", "no", "nr", "p", "pp", "prof", "sec", "st", "vol", "vs",
];

/// Splits a text into sentences without the white space around them. The text's lines are paragraphs, headings or rows
/// already, so a line's end ends a sentence.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let mut end = at + letter.len_utf8();
        let ends = match letter {
            '\n' => true,
            '.' | '!' | '?' | '؟' | '؛' | '…' | '。' => {
                while let Some(&(next, closing)) = letters.peek() {
                    if !matches!(closing, '"' | '\'' | '”' | '’' | '»' | ')' | '.' | '!' | '?' | '؟' | '…')
                    {
                        break;
                    }
                    end = next + closing.len_utf8();
                    letters.next();
                }
                letters.peek().is_none_or(|(_, next)| next.is_whitespace())
                    && !(letter == '.' && is_abbreviation(text.get(start..at).unwrap_or_default()))
            }
            _ => false,
        };
        if ends {
            push(&mut found, text.get(start..end).unwrap_or_default());
            start = end;
        }
    }
    push(&mut found, text.get(start..).unwrap_or_default());
    found
}

fn push<'a>(found: &mut Vec<&'a str>, piece: &'a str) {
    let mut rest = piece.trim();
    while rest.chars().nth(LONGEST_CHARS).is_some() {
        let head = cut(rest, LONGEST_CHARS);
        found.push(head);
        rest = rest.get(head.len()..).unwrap_or_default().trim_start();
    }
    if !rest.is_empty() {
        found.push(rest);
    }
}

/// The beginning of a text: at most so many characters, ended at a space where there is one. Never empty unless the
/// text is.
pub(crate) fn cut(text: &str, most_chars: usize) -> &str {
    let Some((at, next)) = text.char_indices().nth(most_chars) else { return text };
    let head = text.get(..at).unwrap_or_default();
    if next.is_whitespace() {
        return head.trim_end();
    }
    match head.rfind(char::is_whitespace).map(|space| head.get(..space).unwrap_or_default().trim_end()) {
        Some(words) if !words.is_empty() => words,
        _ => head,
    }
}

fn is_abbreviation(before: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let mut letters = word.chars();
    match (letters.next(), letters.next()) {
        // An initial, or the number of a list's item.
        (Some(only), None) => only.is_uppercase() || (only.is_numeric() && before.trim() == word),
        _ => ABBREVIATIONS.contains(&word.to_lowercase().as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn borders() {
        assert_eq!(
            split("Dr. A. Smith paid 4.3 million. He left!  Why?\nA heading\nسلام. خوبی؟"),
            ["Dr. A. Smith paid 4.3 million.", "He left!", "Why?", "A heading", "سلام.", "خوبی؟"]
        );
        assert_eq!(split("He said \"no.\" Then he went."), ["He said \"no.\"", "Then he went."]);
        assert!(split(" \n ").is_empty());
    }

    proptest! {
        #[test]
        fn every_sentence_is_a_slice(text in "\\PC{0,900}") {
            for sentence in split(&text) {
                prop_assert!(text.contains(sentence) && !sentence.is_empty());
                prop_assert!(sentence.chars().count() <= LONGEST_CHARS);
            }
        }
    }
}
