//! Marks such as `[1]` in an answer, and the quotes behind them.

use crate::{
    sentences::{cut, split},
    sources::{Part, Source},
    words::{content_words, coverage, ratio},
};
use docuchat_domain::chat::Citation;
use std::collections::HashSet;

/// The longest quote, in characters.
pub const MAX_QUOTE_CHARS: usize = 300;

/// The longest mark held back, in bytes: `[` and the numbers of all sources fit.
const MAX_MARK_BYTES: usize = 48;

/// Most digits of a number in a mark: `[2023]` is a year.
const MAX_DIGITS: usize = 3;

/// Passes a stream of text through and sees to its marks: `[۱]`, `[1, 2]` and `[01]` become `[1]`, `[1][2]` and `[1]`;
/// a mark of no source is removed together with the space before it. An unfinished mark is held back until it is clear
/// what it is, so that a client never sees half of one. Feeding the text in other pieces gives the same text.
#[derive(Debug, Clone)]
pub struct MarkFilter {
    sources: u32,
    /// From `[` on, while it may become a mark.
    held: String,
    /// Spaces that may turn out to stand before a removed mark.
    spaces: String,
    removed: bool,
}

impl MarkFilter {
    /// A filter that knows the marks from 1 to `sources`.
    #[must_use]
    pub const fn new(sources: u32) -> Self {
        Self { sources, held: String::new(), spaces: String::new(), removed: false }
    }

    /// Takes more text and gives what can be shown by now.
    #[must_use]
    pub fn push(&mut self, delta: &str) -> String {
        let mut out = String::with_capacity(delta.len() + self.held.len());
        for letter in delta.chars() {
            self.feed(letter, &mut out);
        }
        out
    }

    /// Gives what was held back. An unfinished mark and spaces at the end are dropped.
    #[must_use]
    pub fn finish(self) -> String {
        let unfinished = self.held.chars().any(|c| digit(c).is_some());
        if self.held.is_empty() || unfinished { String::new() } else { self.spaces + &self.held }
    }

    fn feed(&mut self, letter: char, out: &mut String) {
        if !self.held.is_empty() {
            if letter == ']' {
                self.resolve(out);
                return;
            }
            let inside = digit(letter).is_some() || is_separator(letter);
            if inside && self.held.len() < MAX_MARK_BYTES {
                self.held.push(letter);
                return;
            }
            let held = std::mem::take(&mut self.held);
            self.emit(&held, out);
        }
        match letter {
            '[' => self.held.push('['),
            // Two spaces around a removed mark become one.
            ' ' if self.removed && !self.spaces.is_empty() => {}
            ' ' => self.spaces.push(' '),
            _ => {
                if self.removed && (letter.is_whitespace() || ".,;:!?)،؛؟»…".contains(letter)) {
                    self.spaces.clear();
                }
                self.emit(letter.encode_utf8(&mut [0; 4]), out);
            }
        }
    }

    fn emit(&mut self, text: &str, out: &mut String) {
        out.push_str(&self.spaces);
        out.push_str(text);
        self.spaces.clear();
        self.removed = false;
    }

    fn resolve(&mut self, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        let Some(found) = numbers(held.get(1..).unwrap_or_default()) else {
            self.emit(&(held + "]"), out);
            return;
        };
        let mut known: Vec<u32> = Vec::new();
        for n in found {
            if (1..=self.sources).contains(&n) && !known.contains(&n) {
                known.push(n);
            }
        }
        if known.is_empty() {
            self.removed = true;
        } else {
            for n in known {
                self.emit(&format!("[{n}]"), out);
            }
        }
    }
}

/// The value of a digit: ASCII, Persian or Arabic.
const fn digit(letter: char) -> Option<u32> {
    match letter {
        '0'..='9' => Some(letter as u32 - '0' as u32),
        '۰'..='۹' => Some(letter as u32 - '۰' as u32),
        '٠'..='٩' => Some(letter as u32 - '٠' as u32),
        _ => None,
    }
}

const fn is_separator(letter: char) -> bool {
    matches!(letter, ' ' | ',' | '،' | ';' | '؛')
}

/// The numbers within the brackets of a mark; nothing if it is not one.
pub(crate) fn numbers(inner: &str) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    for item in inner.split(is_separator).filter(|item| !item.is_empty()) {
        if item.chars().count() > MAX_DIGITS {
            return None;
        }
        found.push(item.chars().try_fold(0, |number, letter| Some(number * 10 + digit(letter)?))?);
    }
    (!found.is_empty()).then_some(found)
}

/// A text without its marks.
pub(crate) fn without_marks(text: &str) -> String {
    let mut filter = MarkFilter::new(0);
    let shown = filter.push(text);
    shown + &filter.finish()
}

/// What an answer cites, in the order of first mention: for each mark the place in the source that says what the
/// sentence before the mark says, copied verbatim.
#[must_use]
pub fn cite(answer: &str, question: &str, sources: &[Source]) -> Vec<Citation> {
    let mut citations: Vec<Citation> = Vec::new();
    let mut from = 0;
    while let Some(open) = answer.get(from..).and_then(|rest| rest.find('[')).map(|at| from + at) {
        from = open + 1;
        let inner = answer.get(from..).and_then(|rest| rest.split_once(']')).map(|(inner, _)| inner);
        for n in inner.and_then(numbers).unwrap_or_default() {
            if citations.iter().any(|citation| citation.n == n) {
                continue;
            }
            if let Some(source) = sources.iter().find(|source| source.n == n) {
                let claim = claim_before(answer.get(..open).unwrap_or_default());
                citations.extend(citation(source, &claim, question));
            }
        }
    }
    citations
}

/// The sources as a reader sees them before the answer is there: quoted by their best sentence for the question.
#[must_use]
pub fn source_citations(question: &str, sources: &[Source]) -> Vec<Citation> {
    sources.iter().filter_map(|source| citation(source, question, question)).collect()
}

/// The sentence that a mark stands after.
fn claim_before(text: &str) -> String {
    let text = without_marks(text);
    split(text.trim_end()).last().copied().unwrap_or_default().to_owned()
}

fn citation(source: &Source, claim: &str, question: &str) -> Option<Citation> {
    let (part, quote) = best_quote(&source.parts, claim, question)?;
    let (page, page_end) = pages_of(part, quote);
    Some(Citation {
        n: source.n,
        document_id: source.document_id,
        title: source.title.clone(),
        page,
        page_end,
        chunk: part.ordinal,
        quote: quote.to_owned(),
        similarity: part.similarity,
    })
}

/// The pages that a quote stands on: those of its chunk, narrowed by where the chunk's pages begin.
fn pages_of(part: &Part, quote: &str) -> (u32, u32) {
    let pages_before = |position: usize| {
        let begun =
            part.page_breaks.iter().filter(|at| usize::try_from(**at).is_ok_and(|at| at <= position)).count();
        part.page.saturating_add(u32::try_from(begun).unwrap_or(u32::MAX)).min(part.page_end)
    };
    let Some((before, _)) = part.text.split_once(quote) else { return (part.page, part.page_end) };
    let start = before.chars().count();
    (pages_before(start), pages_before(start + quote.chars().count().saturating_sub(1)))
}

/// The sentence of the chunks that shares most with the claim. Where the claim shares nothing (it may be in another
/// language), the question decides, and then the order of similarity.
fn best_quote<'a>(parts: &'a [Part], claim: &str, question: &str) -> Option<(&'a Part, &'a str)> {
    let (claim, question) = (content_words(claim), content_words(question));
    let mut best: Option<(f64, &Part, &str)> = None;
    for part in parts {
        for sentence in split(&part.text) {
            let words = content_words(sentence);
            let score = alike(&claim, &words) + 0.2 * coverage(&question, &words).0 + 0.01 * part.similarity
                - if words.len() < 3 { 0.1 } else { 0.0 };
            if best.is_none_or(|(other, _, _)| score > other) {
                best = Some((score, part, sentence));
            }
        }
    }
    best.map(|(_, part, sentence)| (part, cut(sentence, MAX_QUOTE_CHARS)))
}

/// Shared words among all words of both (Jaccard), so that neither a long sentence nor a short one wins by its length.
fn alike(a: &HashSet<String>, b: &HashSet<String>) -> f64 {
    let shared = a.intersection(b).count();
    ratio(shared, a.len() + b.len() - shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::{Bounds, select, tests::hit};
    use proptest::prelude::*;

    fn filtered(text: &str, sources: u32) -> String {
        let mut filter = MarkFilter::new(sources);
        let shown = filter.push(text);
        shown + &filter.finish()
    }

    #[test]
    fn marks_are_brought_into_one_form_or_removed() {
        for (given, expected) in [
            ("It is so [1].", "It is so [1]."),
            ("It is so [9].", "It is so."),
            ("It is so [9] and more.", "It is so and more."),
            ("چنین است [۱].", "چنین است [1]."),
            ("a [٢]", "a [2]"),
            ("a [1, 2، 9]", "a [1][2]"),
            ("a [01][1]", "a [1][1]"),
            ("since [2023] and [a] and [] and [ ]", "since [2023] and [a] and [] and [ ]"),
            ("list[0] stays", "list stays"),
            ("open [1", "open"),
            ("open [", "open ["),
            ("[9] first", " first"),
            ("a\n[9]\nb", "a\n\nb"),
            ("[[1]]", "[[1]]"),
        ] {
            assert_eq!(filtered(given, 2), expected, "{given}");
        }
    }

    #[test]
    fn half_a_mark_is_never_shown() {
        let mut filter = MarkFilter::new(3);
        assert_eq!(filter.push("The sum is 4"), "The sum is 4");
        assert_eq!(filter.push(" ["), "");
        assert_eq!(filter.push("1"), "");
        assert_eq!(filter.push("] and"), " [1] and");
        assert_eq!(filter.push(" [not"), " [not");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[a-c \\[\\]0-9۰-۹,.\n]{0,60}", cuts in proptest::collection::vec(0_usize..60, 0..6)) {
            let mut filter = MarkFilter::new(4);
            let letters: Vec<char> = text.chars().collect();
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut shown = String::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([letters.len()]) {
                let cut = cut.clamp(from, letters.len());
                shown += &filter.push(&letters[from..cut].iter().collect::<String>());
                from = cut;
            }
            shown += &filter.finish();
            prop_assert_eq!(shown, filtered(&text, 4));
        }
    }

    fn sources() -> Vec<Source> {
        let hits = [
            hit(
                0,
                "General words come first. The notice period is\nthree months to the end of a quarter. Pets are allowed.",
            ),
            hit(4, "The deposit of 900 euros is due on the first day.\nIt is paid back within six weeks."),
        ];
        select(&hits, Bounds { top_k: 6, max_tokens: 1000 }, &|text| text.len() / 4)
    }

    #[test]
    fn quotes_are_verbatim_and_fit_their_sentence() {
        let answer =
            "The deposit is 900 euros [2]. Notice must be given three months ahead. [1][2] No more [7].";
        let sources = sources();
        let cited = cite(answer, "What are the terms?", &sources);
        assert_eq!(cited.iter().map(|c| c.n).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(cited[0].quote, "The deposit of 900 euros is due on the first day.");
        assert_eq!((cited[0].chunk, cited[0].page), (4, 3));
        assert_eq!(cited[1].quote, "three months to the end of a quarter.");
        for citation in &cited {
            assert!(
                sources
                    .iter()
                    .flat_map(|s| &s.parts)
                    .any(|part| part.ordinal == citation.chunk && part.text.contains(&citation.quote))
            );
        }
        assert!(cite("Nothing cited.", "q", &sources).is_empty());
    }

    #[test]
    fn a_quote_names_the_page_it_stands_on() {
        let text = "The roof is red. The door is green.\n\nThe garden has a pond.\n\nThe wall is old.";
        let mut over_pages = hit(0, text);
        (over_pages.page_start, over_pages.page_end, over_pages.page_breaks) = (4, 6, vec![37, 61]);
        let sources = select(&[over_pages], Bounds { top_k: 1, max_tokens: 1000 }, &|text| text.len() / 4);
        let pages =
            |answer: &str| cite(answer, "What is there?", &sources).first().map(|c| (c.page, c.page_end));
        assert_eq!(pages("The door is green. [1]"), Some((4, 4)));
        assert_eq!(pages("There is a pond in the garden. [1]"), Some((5, 5)));
        assert_eq!(pages("The wall is old. [1]"), Some((6, 6)));
    }

    #[test]
    fn another_language_is_quoted_by_its_numbers() {
        let cited = cite("ودیعه ۹۰۰ یورو است [2].", "ودیعه چقدر است؟", &sources());
        assert_eq!(cited[0].quote, "The deposit of 900 euros is due on the first day.");
    }

    #[test]
    fn long_quotes_are_cut_at_a_word() {
        let text = "word ".repeat(200);
        let sources =
            select(&[hit(0, &text)], Bounds { top_k: 1, max_tokens: 10_000 }, &|text| text.len() / 4);
        let list = source_citations("word", &sources);
        let quote = &list[0].quote;
        assert!(
            quote.chars().count() <= MAX_QUOTE_CHARS
                && quote.ends_with("word")
                && text.contains(quote.as_str())
        );
    }
}
