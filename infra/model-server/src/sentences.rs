//! Sentences of Persian and English text, as slices of it.

/// A longer run without an end mark (a table, a list without points) is cut at a space.
const LONGEST_CHARS: usize = 480;
/// A line this long that goes on with a small letter was wrapped by a typesetter.
const WRAPPED_LINE_CHARS: usize = 50;
/// Where no line is longer than this, lines were wrapped to a page's width.
const PAGE_WIDTH_CHARS: usize = 140;

/// A Persian semicolon ends a sentence only after this many bytes (some 80 letters): shorter clauses belong together.
const CLAUSE_BYTES: usize = 150;

/// Words before a full stop that do not end a sentence. Lower case, without the stop.
const ABBREVIATIONS: &[&str] = &[
    "art", "ca", "cf", "co", "corp", "dr", "e.g", "ed", "eq", "etc", "fig", "i.e", "inc", "jr", "ltd", "mr",
    "mrs", "ms", "no", "nr", "p", "pp", "prof", "sec", "sr", "st", "vol", "vs",
];

/// Splits a text into sentences, without the white space around them and without empty ones.
///
/// A sentence ends at `.`, `!`, `?`, `؟`, `…`, `。` (not within numbers, initials and usual abbreviations), at `؛` after a
/// long clause, at an
/// empty line, and at a line end unless the line looks wrapped.
pub fn split(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let longest_line = text.lines().map(|line| line.trim().chars().count()).max().unwrap_or(0);
    let mut start = 0;
    for (index, character) in text.char_indices() {
        let after = index + character.len_utf8();
        let ends = match character {
            '\n' => ends_line(text, start, index, longest_line),
            '!' | '?' | '؟' | '…' | '。' => followed_by_break(text, after),
            // A clause that is long enough to stand alone.
            '؛' => index - start >= CLAUSE_BYTES && followed_by_break(text, after),
            '.' => followed_by_break(text, after) && !is_abbreviation(text, start, index),
            _ => false,
        };
        if ends {
            let end = after + closing_marks(text, after);
            push(&mut sentences, text, start, end);
            start = end.max(start);
        }
    }
    push(&mut sentences, text, start, text.len());
    sentences
}

fn push<'a>(sentences: &mut Vec<&'a str>, text: &'a str, start: usize, end: usize) {
    let mut rest = text.get(start..end).unwrap_or_default().trim();
    while let Some((cut, _)) = rest.char_indices().nth(LONGEST_CHARS) {
        let head = rest.get(..cut).unwrap_or_default();
        let cut = head.rfind(char::is_whitespace).filter(|&space| space > 0).unwrap_or(cut);
        let (head, tail) = rest.split_at(cut);
        sentences.push(head.trim_end());
        rest = tail.trim_start();
    }
    if !rest.is_empty() {
        sentences.push(rest);
    }
}

/// Whether white space or a closing mark follows: not within `4.3`, `example.org` or `?!`.
fn followed_by_break(text: &str, after: usize) -> bool {
    let rest = text.get(after..).unwrap_or_default();
    rest.get(closing_marks(text, after)..).unwrap_or_default().chars().next().is_none_or(char::is_whitespace)
}

/// Bytes of quotation marks and brackets that close right after an end mark and belong to the sentence.
fn closing_marks(text: &str, after: usize) -> usize {
    let closing = |character: &char| {
        matches!(character, '"' | '\'' | '”' | '’' | '»' | ')' | ']' | '.' | '!' | '?' | '؟')
    };
    let rest = text.get(after..).unwrap_or_default();
    let marks: usize = rest.chars().take_while(closing).map(char::len_utf8).sum();
    marks + reference_marks(rest.get(marks..).unwrap_or_default())
}

/// Bytes of marks such as `[9]` or `[3][4]` at the beginning.
fn reference_marks(text: &str) -> usize {
    let mark = |rest: &str| {
        let inner = rest.strip_prefix('[')?.split_once(']')?.0;
        let digits =
            !inner.is_empty() && inner.chars().all(|c| c.is_numeric() || matches!(c, ',' | ' ' | '-' | '–'));
        digits.then_some(inner.len() + 2)
    };
    let mut length = 0;
    while let Some(more) = text.get(length..).and_then(mark) {
        length += more;
    }
    length
}

/// The text without marks such as `[9]`, which a reader would take for citations of the sources.
pub(crate) fn without_reference_marks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('[') {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        let mark = reference_marks(tail);
        if mark == 0 {
            out.push('[');
        }
        rest = tail.get(mark.max(1)..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

fn is_abbreviation(text: &str, start: usize, stop: usize) -> bool {
    let before = text.get(start..stop).unwrap_or_default();
    let next = text.get(stop + 1..).unwrap_or_default().trim_start().chars().next();
    if next.is_some_and(char::is_lowercase) {
        // A new sentence begins with a capital letter, or in a script that has none: `8 a.m. and`.
        return true;
    }
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let mut characters = word.chars();
    match (characters.next(), characters.next()) {
        // An initial; a list number at the start of a sentence.
        (Some(only), None) => only.is_uppercase() || (only.is_numeric() && before.trim() == word),
        (Some(_), Some(_)) if before.trim() == word && word.chars().all(char::is_numeric) => true,
        _ => ABBREVIATIONS.contains(&word.to_lowercase().as_str()),
    }
}

fn ends_line(text: &str, start: usize, newline: usize, longest_line: usize) -> bool {
    let line = text.get(start..newline).unwrap_or_default();
    let line = line.rsplit('\n').next().unwrap_or_default().trim();
    let next = text.get(newline + 1..).unwrap_or_default();
    let Some(first) = next.trim_start_matches([' ', '\t', '\r']).chars().next() else { return true };
    let length = line.chars().count();
    let goes_on =
        (first.is_lowercase() || first == '(' || is_arabic_letter(first)) && length >= WRAPPED_LINE_CHARS;
    // Full lines of a page: a paragraph goes on whatever the next line begins with, unless that is a list mark.
    let full = longest_line <= PAGE_WIDTH_CHARS && length >= 40 && length * 10 >= longest_line * 7;
    !(goes_on || (full && (first.is_alphabetic() || first == '(')))
}

/// Letters of the Arabic script, Persian ones among them.
pub(crate) fn is_arabic_letter(character: char) -> bool {
    matches!(character, '\u{0620}'..='\u{064a}' | '\u{066e}'..='\u{06d3}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn english() {
        assert_eq!(
            split(
                "Revenue rose by 4.3 percent, e.g. in Asia. Dr. J. Smith agreed! \"Is it so?\" he asked. See example.org"
            ),
            [
                "Revenue rose by 4.3 percent, e.g. in Asia.",
                "Dr. J. Smith agreed!",
                "\"Is it so?\"",
                "he asked.",
                "See example.org"
            ]
        );
    }

    #[test]
    fn persian() {
        assert_eq!(
            split("درآمد ۱۲.۵ درصد رشد کرد. آیا کافی است؟ بله؛ البته برای امسال! «پایان.» تمام"),
            ["درآمد ۱۲.۵ درصد رشد کرد.", "آیا کافی است؟", "بله؛ البته برای امسال!", "«پایان.»", "تمام"]
        );
    }

    #[test]
    fn lines_end_sentences_unless_they_are_wrapped() {
        let text = "Heading\n1. First item\n2. Second item\n\nThis line was wrapped by a typesetter because it is long\nand goes on here.";
        assert_eq!(
            split(text),
            [
                "Heading",
                "1. First item",
                "2. Second item",
                "This line was wrapped by a typesetter because it is long\nand goes on here."
            ]
        );
    }

    #[test]
    fn reference_marks_belong_to_the_sentence_and_can_be_removed() {
        let text = "It is sandboxed.[9][10] Its speed [see the table] is good [3, 4].";
        assert_eq!(split(text), ["It is sandboxed.[9][10]", "Its speed [see the table] is good [3, 4]."]);
        assert_eq!(without_reference_marks(text), "It is sandboxed. Its speed [see the table] is good .");
    }

    #[test]
    fn endless_runs_are_cut_at_spaces() {
        let text = "word ".repeat(500);
        let sentences = split(&text);
        assert!(sentences.len() > 4);
        assert!(sentences.iter().all(|s| s.chars().count() <= LONGEST_CHARS && s.ends_with("word")));
    }

    proptest! {
        #[test]
        fn nothing_but_white_space_is_lost(text in "[a-z .!?؟؛«»\"\n۰-۹آ-ی.]{0,300}") {
            let joined: String = split(&text).concat().split_whitespace().collect();
            let whole: String = text.split_whitespace().collect();
            prop_assert_eq!(joined, whole);
        }
    }
}
