//! Folding for search: the same in Rust and in SQL (`app.fold` of the search index).

use unicode_normalization::UnicodeNormalization;

/// Folds a text for full-text search, so that spellings of one word that differ only in typing meet.
///
/// In this order: NFKC; Arabic yeh, kaf, teh marbuta and the hamza forms to their Persian base letters; Persian and
/// Arabic digits to ASCII; zero-width non-joiner and directional marks to a space; Arabic diacritics and tatweel out;
/// simple lower case (one character for one, no context), as PostgreSQL's `lower` in the locale `C.UTF-8`.
///
/// It must equal the SQL function `app.fold`; `golden/fold.tsv` tests both.
#[must_use]
pub fn fold(text: &str) -> String {
    text.nfkc().filter_map(fold_char).map(lower).collect()
}

fn fold_char(letter: char) -> Option<char> {
    Some(match letter {
        '\u{064A}' | '\u{0649}' | '\u{0626}' => '\u{06CC}',
        '\u{0643}' => '\u{06A9}',
        '\u{0629}' | '\u{06C0}' | '\u{06C2}' => '\u{0647}',
        '\u{0622}' | '\u{0623}' | '\u{0625}' => '\u{0627}',
        '\u{0624}' => '\u{0648}',
        '\u{06F0}'..='\u{06F9}' => digit(letter, 0x06F0),
        '\u{0660}'..='\u{0669}' => digit(letter, 0x0660),
        '\u{200C}' | '\u{200E}' | '\u{200F}' => ' ',
        '\u{064B}'..='\u{065F}' | '\u{0670}' | '\u{0640}' => return None,
        other => other,
    })
}

fn digit(letter: char, zero: u32) -> char {
    char::from_digit(u32::from(letter).saturating_sub(zero), 10).unwrap_or(letter)
}

/// Simple lower case: the mapping of `UnicodeData.txt`, one character for one.
fn lower(letter: char) -> char {
    let mut mapped = letter.to_lowercase();
    // U+0130 is the only character whose full mapping is longer; its simple mapping is the plain i it begins with.
    mapped.next().unwrap_or(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `\uXXXX`, `\t` and `\\` of the golden file.
    fn unescape(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text.chars();
        while let Some(letter) = rest.next() {
            if letter != '\\' {
                out.push(letter);
                continue;
            }
            match rest.next().expect("escape") {
                'u' => {
                    let hex: String = rest.by_ref().take(4).collect();
                    out.push(char::from_u32(u32::from_str_radix(&hex, 16).expect("hex")).expect("scalar"));
                }
                't' => out.push('\t'),
                'n' => out.push('\n'),
                '\\' => out.push('\\'),
                other => panic!("unknown escape {other}"),
            }
        }
        out
    }

    #[test]
    fn golden_file() {
        let golden = include_str!("../golden/fold.tsv");
        let mut rows = 0;
        for line in golden.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (input, expected) = line.split_once('\t').expect("two columns");
            assert_eq!(fold(&unescape(input)), unescape(expected), "{line}");
            rows += 1;
        }
        assert!(rows >= 30, "only {rows} rows");
    }

    proptest::proptest! {
        #[test]
        fn folding_twice_changes_nothing_more_for_common_text(text in "[a-zA-Z0-9 \u{0620}-\u{064A}\u{06A9}\u{06CC}\u{06F0}-\u{06F9}\u{200C}.,]{0,60}") {
            let once = fold(&text);
            proptest::prop_assert_eq!(fold(&once), once);
        }
    }
}
