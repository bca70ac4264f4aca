//! Headers and footers: lines at the edge of the page that repeat, page numbers masked.

use std::collections::HashMap;

use crate::document::{Break, RawPage};

/// How many lines at the top and at the bottom of a page may be a header or footer.
const DEPTH: usize = 3;
/// A longer line is text.
const LONGEST: usize = 160;

/// Drops lines that repeat at the edges of at least half of the pages (and of three at least).
pub(crate) fn drop_repeated(pages: &mut [RawPage]) {
    let with_text = pages.iter().filter(|page| !page.lines.is_empty()).count();
    if with_text < 3 {
        return;
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    for page in pages.iter() {
        let mut keys: Vec<String> = edge_lines(page).filter_map(|index| key(page, index)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            *seen.entry(key).or_default() += 1;
        }
    }
    // Left and right pages have headers of their own, so each is on half of the pages, or one fewer. A number alone
    // has many shapes (roman and arabic, two and three digits), which the mask unites.
    let enough = (with_text / 2).max(3).min(with_text);
    for page in pages {
        let repeated: Vec<usize> = edge_lines(page)
            .filter(|index| {
                key(page, *index).is_some_and(|key| seen.get(&key).is_some_and(|count| *count >= enough))
            })
            .collect();
        if repeated.is_empty() {
            continue;
        }
        let mut index = 0;
        let mut broken = false;
        page.lines.retain_mut(|line| {
            let keep = !repeated.contains(&index);
            if keep && broken {
                line.after = line.after.max(Break::Line);
                broken = false;
            }
            broken |= !keep;
            index += 1;
            keep
        });
    }
}

/// Indexes of the lines near the top and the bottom of a page.
fn edge_lines(page: &RawPage) -> impl Iterator<Item = usize> {
    let count = page.lines.len();
    let top = 0..DEPTH.min(count);
    let bottom = count.saturating_sub(DEPTH).max(top.end)..count;
    let edges: Vec<usize> =
        page.lines.iter().enumerate().filter(|(_, line)| line.edge).map(|(index, _)| index).collect();
    let mut all: Vec<usize> = top.chain(bottom).chain(edges).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter()
}

/// What a line has in common with its like on other pages: digits masked, case and spaces gone.
fn key(page: &RawPage, index: usize) -> Option<String> {
    let text = page.lines.get(index)?.text.trim();
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    let mut key = String::with_capacity(text.len());
    for letter in text.chars().flat_map(char::to_lowercase) {
        if letter.is_numeric() {
            if !key.ends_with('#') {
                key.push('#');
            }
        } else if !letter.is_whitespace() {
            key.push(letter);
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::RawLine;

    fn page(number: u32, lines: &[&str]) -> RawPage {
        let lines = lines
            .iter()
            .map(|text| RawLine { text: (*text).to_owned(), after: Break::Soft, edge: false })
            .collect();
        RawPage { number, lines }
    }

    #[test]
    fn repeated_edges_go_and_text_stays() {
        let mut pages: Vec<RawPage> = (1..=6)
            .map(|number| {
                let body = format!(
                    "body of {}",
                    ["one", "two", "three", "four", "five", "six"][number as usize - 1]
                );
                page(
                    number,
                    &[
                        "Annual report",
                        &body,
                        "a",
                        "b",
                        "same in the middle",
                        "c",
                        "d",
                        &format!("Page {number} of 6"),
                    ],
                )
            })
            .collect();
        drop_repeated(&mut pages);
        for page in &pages {
            assert!(
                !page
                    .lines
                    .iter()
                    .any(|line| line.text.starts_with("Page") || line.text.starts_with("Annual"))
            );
            assert!(page.lines.iter().any(|line| line.text.starts_with("body")));
            assert!(page.lines.iter().any(|line| line.text == "same in the middle"));
        }
    }

    #[test]
    fn short_documents_keep_everything() {
        let mut pages = vec![page(1, &["x", "y"]), page(2, &["x", "z"])];
        drop_repeated(&mut pages);
        assert_eq!(pages[0].lines.len(), 2);
    }
}
