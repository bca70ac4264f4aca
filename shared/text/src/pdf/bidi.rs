//! From visual order, left to right as on the page, to the logical order of reading.
//!
//! The rules are those of Unicode annex 9 turned round, as far as a line can tell: numbers and Latin words keep their
//! order inside right-to-left text.

use super::line::{CELL_GAP, Line, Word, text_of};

/// How text behaves in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Right,
    Left,
    Digit,
    /// A mark that stands inside numbers, or next to one.
    Separator,
    Neutral,
}

fn is_right(letter: char) -> bool {
    matches!(letter,
        '\u{590}'..='\u{5FF}' | '\u{600}'..='\u{605}' | '\u{608}' | '\u{60B}' | '\u{60D}' | '\u{61B}'..='\u{65F}'
        | '\u{66D}'..='\u{6EF}' | '\u{6FA}'..='\u{8FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}'
        | '\u{10800}'..='\u{10FFF}' | '\u{1E800}'..='\u{1EFFF}')
}

fn class(text: &str) -> Class {
    if let [byte] = text.as_bytes()
        && byte.is_ascii_alphabetic()
    {
        return Class::Left;
    }
    let mut found = Class::Neutral;
    for letter in text.chars() {
        match letter {
            letter if is_right(letter) => return Class::Right,
            '0'..='9' | '\u{660}'..='\u{669}' | '\u{66B}' | '\u{66C}' | '\u{6F0}'..='\u{6F9}' => {
                found = Class::Digit;
            }
            '.' | ',' | ':' | '/' | '-' | '+' | '%' | '$' | '€' | '£' | '#' | '\u{66A}' | '\u{2212}'
            | '\u{B0}'
                if found == Class::Neutral =>
            {
                found = Class::Separator;
            }
            letter if letter.is_alphabetic() => return Class::Left,
            _ => {}
        }
    }
    found
}

fn is_arabic(letter: char) -> bool {
    matches!(letter, '\u{620}'..='\u{65F}' | '\u{66E}'..='\u{6EF}' | '\u{750}'..='\u{8FF}' | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}')
}

/// Letters of each direction: right to left, left to right.
pub(super) fn count(lines: &[Line], arena: &str) -> (usize, usize) {
    let items = lines.iter().flat_map(|line| &line.words).flat_map(|word| &word.items);
    items.fold((0, 0), |(right, left), item| match class(text_of(arena, item)) {
        Class::Right => (right + 1, left),
        Class::Left => (right, left + 1),
        _ => (right, left),
    })
}

/// The text of words in logical order, a space between words and a tab at wide gaps.
///
/// `page_is_right` decides where a line has letters of both directions.
pub(super) fn logical(words: &[Word], size: f32, arena: &str, page_is_right: bool) -> String {
    let mut parts: Vec<(&str, Class)> = Vec::new();
    let mut end = None;
    for word in words {
        if let Some(end) = end {
            let gap = if word.u0 - end > CELL_GAP * size { "\t" } else { " " };
            parts.push((gap, Class::Neutral));
        }
        parts.extend(word.items.iter().map(|item| {
            let text = text_of(arena, item);
            (text, class(text))
        }));
        end = Some(word.u1);
    }
    let of = |wanted: Class| parts.iter().filter(|(_, class)| *class == wanted).count();
    let (right, left) = (of(Class::Right), of(Class::Left));
    if right == 0 {
        return parts.iter().map(|(text, _)| *text).collect();
    }
    if right >= left || page_is_right && right * 4 > left {
        right_to_left(&parts)
    } else {
        left_to_right(&parts)
    }
}

fn right_to_left(parts: &[(&str, Class)]) -> String {
    let keeps = kept_runs(parts);
    let mut order: Vec<usize> = (0..parts.len()).rev().collect();
    // The runs that keep their order were turned with the line: turn them back.
    let mut start = 0;
    while start < order.len() {
        let kept = |at: usize| order.get(at).and_then(|index| keeps.get(*index)).copied().unwrap_or(false);
        let mut end = start;
        while end < order.len() && kept(end) {
            end += 1;
        }
        if let Some(run) = order.get_mut(start..end) {
            run.reverse();
        }
        start = end.max(start + 1);
    }
    let text: Vec<(&str, bool)> = order
        .iter()
        .filter_map(|index| Some((parts.get(*index)?.0, !keeps.get(*index).copied().unwrap_or(false))))
        .collect();
    mirrored(&text)
}

/// Which parts of a right-to-left line keep their left-to-right order: Latin words, numbers, and what joins them.
///
/// After Arabic letters a number takes in only the marks that divide it ("1403/05/12", rules W2 and W4): a percent or
/// minus sign belongs to the line, and stands to the left of its number. After Hebrew letters it keeps its signs.
fn kept_runs(parts: &[(&str, Class)]) -> Vec<bool> {
    let arabic = parts.iter().any(|(text, _)| text.contains(is_arabic));
    let mut keeps: Vec<bool> =
        parts.iter().map(|(_, class)| matches!(class, Class::Left | Class::Digit)).collect();
    let class_at = |index: Option<usize>| index.and_then(|index| parts.get(index)).map(|part| part.1);
    let mut start = 0;
    while start < parts.len() {
        let is_between = |class: Option<Class>| matches!(class, Some(Class::Neutral | Class::Separator));
        if !is_between(class_at(Some(start))) {
            start += 1;
            continue;
        }
        let mut end = start;
        while is_between(class_at(Some(end))) {
            end += 1;
        }
        let (before, after) = (class_at(start.checked_sub(1)), class_at(Some(end)));
        let between = parts.get(start..end).unwrap_or_default();
        let divides =
            |text: &str| matches!(text, "." | "," | ":" | "/") || !arabic && matches!(text, "-" | "+");
        let separators = between.len() == 1 && between.iter().all(|(text, _)| divides(text));
        let is_wide = between.iter().any(|(text, _)| *text == "\t");
        let inside = match (before, after) {
            (Some(Class::Left), Some(Class::Left | Class::Digit))
            | (Some(Class::Digit), Some(Class::Left)) => !is_wide,
            // "1403/05/12" and "3.14" are one number; "12 - 15" are two.
            (Some(Class::Digit), Some(Class::Digit)) => separators,
            _ => false,
        };
        for (offset, keep) in keeps.iter_mut().skip(start).take(end - start).enumerate() {
            *keep = inside;
            let sign = parts
                .get(start + offset)
                .is_some_and(|(text, _)| matches!(*text, "%" | "$" | "€" | "£" | "\u{66A}" | "\u{B0}" | "#"));
            let touches = offset == 0 && before == Some(Class::Digit)
                || start + offset + 1 == end && after == Some(Class::Digit);
            *keep |= !arabic && sign && touches;
        }
        start = end;
    }
    keeps
}

fn left_to_right(parts: &[(&str, Class)]) -> String {
    let mut out = String::new();
    let mut index = 0;
    while let Some((text, class)) = parts.get(index) {
        if *class != Class::Right {
            out.push_str(text);
            index += 1;
            continue;
        }
        // From this letter to the last one of its direction before the next Latin one.
        let rest = parts.get(index..).unwrap_or_default();
        let until = rest.iter().position(|(_, class)| *class == Class::Left).unwrap_or(rest.len());
        let stretch = rest.get(..until).unwrap_or_default();
        let last = stretch.iter().rposition(|(_, class)| *class == Class::Right).unwrap_or_default();
        out.push_str(&right_to_left(stretch.get(..=last).unwrap_or_default()));
        index += last + 1;
    }
    out
}

/// Joins parts; brackets of right-to-left stretches are mirrored if otherwise they would close before they open.
///
/// Some writers map the bracket that is seen, others the one that was typed: only the pair itself tells.
fn mirrored(parts: &[(&str, bool)]) -> String {
    let mut depth = 0_i32;
    let mut wrong = 0_usize;
    let mut fine = 0_usize;
    for (text, turned) in parts {
        if !turned {
            continue;
        }
        match *text {
            "(" | "[" | "{" | "«" => depth += 1,
            ")" | "]" | "}" | "»" if depth > 0 => {
                depth -= 1;
                fine += 1;
            }
            ")" | "]" | "}" | "»" => wrong += 1,
            _ => {}
        }
    }
    let mirror = wrong > fine;
    parts
        .iter()
        .map(|(text, turned)| match (*text, mirror && *turned) {
            ("(", true) => ")",
            (")", true) => "(",
            ("[", true) => "]",
            ("]", true) => "[",
            ("{", true) => "}",
            ("}", true) => "{",
            ("«", true) => "»",
            ("»", true) => "«",
            (text, _) => text,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a line given as it looks, one part per character.
    fn read(visual: &str) -> String {
        let letters: Vec<String> = visual.chars().map(String::from).collect();
        let parts: Vec<(&str, Class)> =
            letters.iter().map(|letter| (letter.as_str(), class(letter))).collect();
        let right = parts.iter().filter(|part| part.1 == Class::Right).count();
        let left = parts.iter().filter(|part| part.1 == Class::Left).count();
        if right >= left { right_to_left(&parts) } else { left_to_right(&parts) }
    }

    /// What a viewer shows for Persian text, when it has no left-to-right part.
    fn visual(text: &str) -> String {
        text.chars().rev().collect()
    }

    #[test]
    fn letters_turn_and_numbers_stay() {
        assert_eq!(read(&visual("سلام دنیا")), "سلام دنیا");
        assert_eq!(
            read(&format!("{} ۱۴۰۳/۰۵/۱۲ {}", visual("است"), visual("تاریخ"))),
            "تاریخ ۱۴۰۳/۰۵/۱۲ است"
        );
        assert_eq!(read(&format!("{} %25 {}", visual("است"), visual("سهم"))), "سهم 25% است");
        assert_eq!(read(&format!("{} ٪۲٬۵۰۰ {}", visual("است"), visual("سهم"))), "سهم ۲٬۵۰۰٪ است");
        assert_eq!(read(&format!("{} 20-10 {}", visual("تا"), visual("از"))), "از 10-20 تا");
        assert_eq!(read(&format!("{} 25% {}", visual("של"), visual("אחוז"))), "אחוז 25% של");
        assert_eq!(read(&format!("{} 12 34 {}", visual("ب"), visual("الف"))), "الف 34 12 ب");
    }

    #[test]
    fn latin_runs_stay() {
        assert_eq!(
            read(&format!("{} Visual Studio 10 {}", visual("نرم افزار است"), visual("این"))),
            "این Visual Studio 10 نرم افزار است"
        );
        assert_eq!(read(&format!("The word {} means peace", visual("سلام"))), "The word سلام means peace");
    }

    #[test]
    fn brackets_face_each_other() {
        // As seen, and as typed.
        assert_eq!(read("(ب) الف".chars().rev().collect::<String>().as_str()), "(ب) الف");
        assert_eq!(read(&format!("({}) {}", visual("ب"), visual("الف"))), "الف (ب)");
    }
}
