//! From the hits of a search to the passages that a model is given.

use crate::{
    prompt::source_block,
    sentences::cut,
    words::{ratio, words},
};
use docuchat_domain::{DocumentId, index::Hit};
use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

/// A passage offered to the model: one chunk, or several neighbours of one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The number that the answer cites it by, from 1.
    pub n: u32,
    /// The document.
    pub document_id: DocumentId,
    /// The document's title.
    pub title: String,
    /// First page, from 1.
    pub page: u32,
    /// Last page.
    pub page_end: u32,
    /// The text, in the document's order and without repetitions.
    pub text: String,
    /// The best cosine similarity of its chunks to the question.
    pub similarity: f64,
    /// The chunks it is made of, each whole.
    pub parts: Vec<Part>,
}

/// A chunk within a source: what a citation points to.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Position within the document, from 0.
    pub ordinal: u32,
    /// First page, from 1.
    pub page: u32,
    /// Last page.
    pub page_end: u32,
    /// Where in the text, in characters, each page after the first begins.
    pub page_breaks: Vec<u32>,
    /// The chunk's text.
    pub text: String,
    /// Cosine similarity to the question.
    pub similarity: f64,
}

/// How much a prompt may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most sources.
    pub top_k: usize,
    /// Most tokens of all source blocks together.
    pub max_tokens: usize,
}

/// Words of one shingle.
const SHINGLE: usize = 5;
/// Two texts that share so many of the shorter one's shingles say the same.
const SAME_SHARE: f64 = 0.8;
/// An overlap of neighbours shorter than this, in bytes, is a coincidence.
const LEAST_OVERLAP: usize = 12;
/// The longest overlap looked for, in bytes: several times what the chunker repeats.
const MOST_OVERLAP: usize = 4000;

/// Chooses sources from hits, which come best first.
///
/// - A hit whose text lies within a better one, or repeats four fifths of its five-word runs, is left out.
/// - Hits with adjacent positions in one document become one source; what they repeat of each other is kept once.
/// - At most `top_k` sources, in the order of their best hit, whose blocks have at most `max_tokens` tokens together. A
///   source too large is tried with its best chunk alone; if even the very first does not fit, it is shortened.
#[must_use]
pub fn select(hits: &[Hit], bounds: Bounds, count: &dyn Fn(&str) -> usize) -> Vec<Source> {
    let groups = grouped(&without_repetitions(hits), bounds.top_k);
    let mut sources: Vec<Source> = Vec::new();
    let mut left = bounds.max_tokens;
    for group in groups {
        let n = u32::try_from(sources.len() + 1).unwrap_or(u32::MAX);
        let Some(&best) = group.first() else { continue };
        let mut candidates = vec![source(n, best, &group)];
        if group.len() > 1 {
            candidates.push(source(n, best, &[best]));
        }
        let fitting = candidates.into_iter().find_map(|source| {
            let tokens = count(&source_block(&source));
            (tokens <= left).then_some((source, tokens))
        });
        let chosen = match fitting {
            Some(chosen) => Some(chosen),
            None if sources.is_empty() => shortened(source(n, best, &[best]), left, count),
            None => None,
        };
        if let Some((source, tokens)) = chosen {
            left = left.saturating_sub(tokens);
            sources.push(source);
        }
    }
    sources
}

fn without_repetitions(hits: &[Hit]) -> Vec<&Hit> {
    let mut kept: Vec<(&Hit, String, HashSet<u64>)> = Vec::new();
    for hit in hits {
        let words = words(&hit.text);
        let text = format!(" {} ", words.join(" "));
        let shingles = shingles(&words);
        let repeated = words.is_empty()
            || kept.iter().any(|(other, other_text, other_shingles)| {
                let smaller = shingles.len().min(other_shingles.len());
                (other.document_id, other.ordinal) == (hit.document_id, hit.ordinal)
                    || other_text.contains(&text)
                    || ratio(shingles.intersection(other_shingles).count(), smaller) >= SAME_SHARE
            });
        if !repeated {
            kept.push((hit, text, shingles));
        }
    }
    kept.into_iter().map(|(hit, _, _)| hit).collect()
}

fn shingles(words: &[String]) -> HashSet<u64> {
    words
        .windows(SHINGLE)
        .map(|run| {
            let mut hasher = DefaultHasher::new();
            run.hash(&mut hasher);
            hasher.finish()
        })
        .collect()
}

/// Groups of neighbours, in the order of their best hit; within a group the best hit is first.
fn grouped<'a>(hits: &[&'a Hit], top_k: usize) -> Vec<Vec<&'a Hit>> {
    let mut groups: Vec<Vec<&Hit>> = Vec::new();
    for &hit in hits {
        let touches = |group: &Vec<&Hit>| {
            group.iter().any(|other| {
                other.document_id == hit.document_id
                    && other.generation == hit.generation
                    && other.ordinal.abs_diff(hit.ordinal) == 1
            })
        };
        match groups.iter().position(touches) {
            Some(first) => {
                // A hit may close the gap between two groups: the better one takes the other in.
                let second =
                    groups.iter().skip(first + 1).position(touches).map(|at| groups.remove(first + 1 + at));
                if let Some(group) = groups.get_mut(first) {
                    group.push(hit);
                    group.extend(second.unwrap_or_default());
                }
            }
            None if groups.len() < top_k => groups.push(vec![hit]),
            None => {}
        }
    }
    groups
}

fn source(n: u32, best: &Hit, group: &[&Hit]) -> Source {
    let mut ordered = group.to_vec();
    ordered.sort_by_key(|hit| hit.ordinal);
    let mut text = String::new();
    for hit in &ordered {
        append(&mut text, hit.text.trim());
    }
    Source {
        n,
        document_id: best.document_id,
        title: best.title.clone(),
        page: ordered.iter().map(|hit| hit.page_start).fold(best.page_start, u32::min),
        page_end: ordered.iter().map(|hit| hit.page_end).fold(best.page_end, u32::max),
        text,
        similarity: ordered.iter().map(|hit| hit.similarity).fold(best.similarity, f64::max),
        parts: ordered
            .iter()
            .map(|hit| Part {
                ordinal: hit.ordinal,
                page: hit.page_start,
                page_end: hit.page_end,
                page_breaks: hit.page_breaks.clone(),
                text: hit.text.clone(),
                similarity: hit.similarity,
            })
            .collect(),
    }
}

/// Appends a neighbour without what both share: the end of the one that is the beginning of the other.
fn append(text: &mut String, next: &str) {
    if text.is_empty() {
        text.push_str(next);
        return;
    }
    let longest = text.len().min(next.len()).min(MOST_OVERLAP);
    let overlap = (LEAST_OVERLAP..=longest)
        .rev()
        .filter_map(|length| next.get(..length))
        .find(|beginning| text.ends_with(beginning))
        .map_or(0, str::len);
    if overlap == 0 {
        text.push('\n');
    }
    text.push_str(next.get(overlap..).unwrap_or_default());
}

/// The longest beginning of a source that fits, by halving.
fn shortened(
    mut source: Source,
    most_tokens: usize,
    count: &dyn Fn(&str) -> usize,
) -> Option<(Source, usize)> {
    let mut chars = source.text.chars().count();
    while chars > 40 {
        chars = chars * 3 / 4;
        source.text = cut(&source.text, chars).to_owned();
        let tokens = count(&source_block(&source));
        if tokens <= most_tokens {
            return Some((source, tokens));
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn hit(ordinal: u32, text: &str) -> Hit {
        Hit {
            document_id: "0199aaaa-0000-7000-8000-000000000001".parse().unwrap(),
            title: "Lease.pdf".into(),
            generation: 1,
            ordinal,
            page_start: ordinal / 2 + 1,
            page_end: ordinal / 2 + 1,
            page_breaks: Vec::new(),
            text: text.into(),
            tokens: 10,
            score: 0.03,
            similarity: 0.9 - f64::from(ordinal) / 100.0,
            vector_rank: Some(1),
            text_rank: None,
        }
    }

    fn other(text: &str) -> Hit {
        Hit {
            document_id: "0199aaaa-0000-7000-8000-000000000002".parse().unwrap(),
            title: "Copy.pdf".into(),
            ..hit(0, text)
        }
    }

    fn count(text: &str) -> usize {
        text.split_whitespace().count()
    }

    const WIDE: Bounds = Bounds { top_k: 6, max_tokens: 8000 };

    #[test]
    fn repetitions_are_left_out() {
        let text = "The notice period is three months to the end of a quarter, in writing.";
        let within = "notice period is THREE months";
        let nearly = "The notice period is three months to the end of a quarter, in writing. Thanks.";
        let sources = select(
            &[hit(0, text), other(text), other(within), hit(5, nearly), hit(7, "Pets are allowed.")],
            WIDE,
            &count,
        );
        let texts: Vec<&str> = sources.iter().map(|source| source.text.as_str()).collect();
        assert_eq!(texts, [text, "Pets are allowed."]);
        assert_eq!(sources.iter().map(|source| source.n).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn neighbours_become_one_passage() {
        let hits = [
            hit(3, "The third part goes on. The fourth is near."),
            hit(9, "Something else entirely is here."),
            hit(5, "And the fifth ends the story."),
            hit(4, "The fourth is near. And more of it."),
        ];
        let sources = select(&hits, WIDE, &count);
        assert_eq!(sources.len(), 2);
        assert_eq!(
            sources[0].text,
            "The third part goes on. The fourth is near. And more of it.\nAnd the fifth ends the story."
        );
        assert_eq!((sources[0].page, sources[0].page_end), (2, 3));
        assert_eq!(sources[0].parts.iter().map(|part| part.ordinal).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(sources[1].text, "Something else entirely is here.");
    }

    #[test]
    fn bounds_hold() {
        let hits: Vec<Hit> =
            (0..12).map(|i| hit(i * 2, &format!("passage number {i} has words of its own {i}{i}"))).collect();
        assert_eq!(select(&hits, WIDE, &count).len(), 6);
        let one = count(&source_block(&select(&hits, WIDE, &count)[0]));
        let tight = Bounds { top_k: 6, max_tokens: one * 2 + 1 };
        assert_eq!(select(&hits, tight, &count).len(), 2);
        let long = hit(0, &"word ".repeat(1000));
        let sources = select(&[long], Bounds { top_k: 6, max_tokens: 100 }, &count);
        assert_eq!(sources.len(), 1);
        assert!(count(&source_block(&sources[0])) <= 100 && count(&sources[0].text) > 50);
        assert!(select(&[], WIDE, &count).is_empty());
    }
}
