//! Clean text: what a reader would type, not what a font or a line break made of it.

use unicode_normalization::UnicodeNormalization;

use crate::document::{Break, RawLine};

/// Joins the lines of a page and cleans the result.
///
/// Lines of a paragraph are joined with a space; a word divided at the end of a line is put together when it goes on
/// in lower case.
pub(crate) fn join(lines: &[RawLine]) -> String {
    let mut text = String::with_capacity(lines.iter().map(|line| line.text.len() + 1).sum());
    for raw in lines {
        let line = line(&raw.text);
        if line.is_empty() {
            continue;
        }
        if text.is_empty() {
            text.push_str(&line);
            continue;
        }
        match raw.after {
            Break::Paragraph => text.push_str("\n\n"),
            Break::Line => text.push('\n'),
            Break::Soft if is_divided(&text, &line) => {
                text.pop();
            }
            // The hyphen of a compound: "COVID-" "19".
            Break::Soft if ends_in_hyphen(&text) && line.starts_with(char::is_alphanumeric) => {}
            // Chinese and Japanese have no spaces between words.
            Break::Soft if text.ends_with(is_ideographic) && line.starts_with(is_ideographic) => {}
            Break::Soft => text.push(' '),
        }
        text.push_str(&line);
    }
    persian_letters(text)
}

/// Whether `text` ends in a word that was divided and that `next` goes on with.
fn is_divided(text: &str, next: &str) -> bool {
    let mut before = text.chars().rev();
    matches!(before.next(), Some('-' | '\u{2010}' | '\u{AD}'))
        && before.next().is_some_and(char::is_alphabetic)
        && next.chars().next().is_some_and(char::is_lowercase)
}

fn ends_in_hyphen(text: &str) -> bool {
    text.strip_suffix('-').is_some_and(|word| word.ends_with(char::is_alphanumeric))
}

fn is_ideographic(letter: char) -> bool {
    matches!(letter, '\u{2E80}'..='\u{30FF}' | '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF00}'..='\u{FF60}' | '\u{20000}'..='\u{3FFFF}')
}

/// Cleans the characters of a line and its white space.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // At the end of a line the soft hyphen is a division, which joining needs to see.
            '\u{AD}' if letters.peek().is_none() && !out.is_empty() => out.push('\u{AD}'),
            _ => push_clean(&mut out, letter),
        }
    }
    squeeze(&leaders(out))
}

/// Whether the line has a row of dots as in a table of contents.
pub(crate) fn has_leader(text: &str) -> bool {
    dots(text).is_some()
}

/// The first row of at least five dots, spaces between them or not, as a byte range.
fn dots(text: &str) -> Option<std::ops::Range<usize>> {
    const FEWEST: usize = 5;
    let mut start = 0;
    let mut end = 0;
    let mut count = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '.' | '…' | '·' => {
                if count == 0 {
                    start = at;
                }
                count += 1;
                end = at + letter.len_utf8();
            }
            letter if letter.is_whitespace() && count > 0 => {}
            _ if count >= FEWEST => break,
            _ => count = 0,
        }
    }
    (count >= FEWEST).then_some(start..end)
}

/// Writes rows of dots as one ellipsis.
fn leaders(text: String) -> String {
    let mut out = text;
    // A line has a few of them at most; what is left over stays as it is.
    for _ in 0..8 {
        let Some(range) = dots(&out) else { break };
        out.replace_range(range, " … ");
    }
    out
}

fn push_clean(out: &mut String, letter: char) {
    match letter {
        '\t' => out.push('\t'),
        // Soft hyphen, bidi controls, byte order mark, zero-width space, word joiner, replacement and controls.
        '\u{AD}'
        | '\u{61C}'
        | '\u{200B}'
        | '\u{200E}'
        | '\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{2069}'
        | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFD}' => {}
        '\u{A0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200A}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202F}'
        | '\u{205F}'
        | '\u{3000}' => {
            out.push(' ');
        }
        letter if letter.is_control() => out.push(' '),
        // Ligatures and Arabic presentation forms become their letters. The decomposition of a lone mark begins
        // with a space that nobody wrote.
        '\u{FB00}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}' => {
            out.extend(std::iter::once(letter).nfkc().skip_while(|part| *part == ' '));
        }
        // Private use: no reader knows what it means.
        '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}' => {}
        letter => out.push(letter),
    }
}

/// Makes one space of a run of them, one tab of a run with a tab, and trims.
fn squeeze(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut pending = None;
    for letter in text.chars() {
        match letter {
            '\t' => pending = Some('\t'),
            ' ' => pending = pending.or(Some(' ')),
            letter => {
                if let Some(space) = pending.take()
                    && !out.is_empty()
                {
                    out.push(space);
                }
                out.push(letter);
            }
        }
    }
    out
}

/// Writes Arabic yeh and kaf as the Persian letters where the text is Persian.
///
/// Old keyboards and fonts wrote Persian with the Arabic letters. In Arabic they are right, so they change only in a
/// text that has a letter or a common word of Persian.
fn persian_letters(text: String) -> String {
    const YEH: char = '\u{064A}';
    const KAF: char = '\u{0643}';
    if !text.contains([YEH, KAF]) || !is_persian(&text) {
        return text;
    }
    text.chars()
        .map(|letter| match letter {
            YEH => '\u{06CC}',
            KAF => '\u{06A9}',
            other => other,
        })
        .collect()
}

fn is_persian(text: &str) -> bool {
    const LETTERS: [char; 6] = ['\u{067E}', '\u{0686}', '\u{0698}', '\u{06AF}', '\u{06A9}', '\u{06CC}'];
    const WORDS: [&str; 10] = ["است", "این", "اين", "که", "كه", "را", "برای", "براي", "های", "هاي"];
    text.contains(LETTERS) || text.split_whitespace().any(|word| WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soft(lines: &[&str]) -> String {
        let lines: Vec<_> =
            lines.iter().map(|text| RawLine { text: (*text).to_owned(), ..RawLine::default() }).collect();
        join(&lines)
    }

    #[test]
    fn lines_are_joined_and_divided_words_put_together() {
        assert_eq!(soft(&["a para-", "graph of", "lines"]), "a paragraph of lines");
        assert_eq!(soft(&["COVID-", "19 and Anglo-", "Saxon"]), "COVID-19 and Anglo-Saxon");
        assert_eq!(soft(&["soft\u{AD}", "ware so\u{AD}ft"]), "software soft");
        assert_eq!(soft(&["a dash -", "then more"]), "a dash - then more");
        assert_eq!(soft(&["漢字", "漢字"]), "漢字漢字");
    }

    #[test]
    fn presentation_forms_go_and_superscripts_stay() {
        assert_eq!(line("ﬁnd x² ﻻ"), "find x² لا");
        assert_eq!(line("\u{202B}abc\u{202C}\u{FEFF}  d\u{A0}e "), "abc d e");
        assert_eq!(line("a \t b"), "a\tb");
        assert_eq!(line("1 Intro. . . . . . . . 12"), "1 Intro … 12");
        assert_eq!(line("wait..."), "wait...");
    }

    #[test]
    fn arabic_letters_in_persian_become_persian() {
        assert_eq!(soft(&["كتاب علي پارسي"]), "کتاب علی پارسی");
        assert_eq!(soft(&["می‌روم"]), "می‌روم");
        assert_eq!(soft(&["علي اين كتاب را خواند"]), "علی این کتاب را خواند");
        assert_eq!(soft(&["الكتاب في المدرسة"]), "الكتاب في المدرسة");
        assert_eq!(soft(&["حبيبي"]), "حبيبي");
    }
}
