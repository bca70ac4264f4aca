//! Chunks for the search index: windows of whole sentences, measured in tokens.

use icu_segmenter::options::{SentenceBreakInvariantOptions, WordBreakInvariantOptions};
use icu_segmenter::{GraphemeClusterSegmenter, SentenceSegmenter, WordSegmenter};

use crate::{Page, TokenCounter};

/// What stands between two pages in the joined text that [`Chunk::char_start`] refers to.
pub const PAGE_SEPARATOR: &str = "\n\n";

/// How [`chunk`] cuts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkOptions {
    /// Most tokens of a chunk (400).
    pub max_tokens: usize,
    /// Most tokens that a chunk repeats of the one before it, in whole sentences (40).
    pub overlap_tokens: usize,
}

impl Default for ChunkOptions {
    fn default() -> Self {
        Self { max_tokens: 400, overlap_tokens: 40 }
    }
}

/// A piece of a document for the search index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Position among the chunks, from 0.
    pub ordinal: usize,
    /// Number of the page the chunk begins on.
    pub page_start: u32,
    /// Number of the page the chunk ends on.
    pub page_end: u32,
    /// Where in `text`, in characters, each further page begins: one entry per page after `page_start`.
    pub page_breaks: Vec<usize>,
    /// Where it begins in [`join_pages`], in characters (Unicode scalar values, not bytes).
    pub char_start: usize,
    /// Where it ends in [`join_pages`], in characters, exclusive.
    pub char_end: usize,
    /// Tokens of `text`, by the counter that was given.
    pub tokens: usize,
    /// The text: exactly the characters of the range, without white space at its ends.
    pub text: String,
}

/// The text of all pages with [`PAGE_SEPARATOR`] between them: what character ranges refer to.
#[must_use]
pub fn join_pages(pages: &[Page]) -> String {
    let mut text =
        String::with_capacity(pages.iter().map(|page| page.text.len() + PAGE_SEPARATOR.len()).sum());
    for (index, page) in pages.iter().enumerate() {
        if index > 0 {
            text.push_str(PAGE_SEPARATOR);
        }
        text.push_str(&page.text);
    }
    text
}

/// Cuts pages into chunks of whole sentences.
///
/// - Every chunk has at most `max_tokens` tokens (unless a single character has more), by an exact count.
/// - In order, chunks cover all text but white space; none lies inside its neighbour.
/// - Borders are those of sentences (Unicode annex 29). A sentence of more than `max_tokens` is cut between words, a
///   word of more between graphemes, a grapheme of more between characters.
/// - A chunk repeats the last sentences of the one before it, as many as fit in `overlap_tokens`.
#[must_use]
pub fn chunk(pages: &[Page], options: &ChunkOptions, counter: &dyn TokenCounter) -> Vec<Chunk> {
    let text = join_pages(pages);
    let max_tokens = options.max_tokens.max(1);
    let overlap_tokens = options.overlap_tokens.min(max_tokens / 2);
    let units = units(&text, max_tokens, counter);
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut places = Places::new(pages, &text);
    let mut first = 0;
    // Units before this one are in a chunk already.
    let mut covered = 0;
    while covered < units.len() {
        let Some(window) = Window::fill(&text, &units, first, covered, max_tokens, counter) else { break };
        let (char_start, page_start) = places.find(window.start);
        let (char_end, page_end) = places.find_end(window.end);
        chunks.push(Chunk {
            ordinal: chunks.len(),
            page_start,
            page_end,
            page_breaks: places.breaks(window.start, window.end),
            char_start,
            char_end,
            tokens: window.tokens,
            text: text.get(window.start..window.end).unwrap_or_default().to_owned(),
        });
        first = overlap_start(&units, window.first, window.past, overlap_tokens);
        covered = window.past;
    }
    chunks
}

/// A sentence, or a part of one that is too long: a byte range without white space at its ends.
#[derive(Debug, Clone, Copy)]
struct Unit {
    start: usize,
    end: usize,
    tokens: usize,
}

/// What one chunk will hold: units `first..past`, bytes `start..end`.
struct Window {
    first: usize,
    past: usize,
    start: usize,
    end: usize,
    tokens: usize,
}

impl Window {
    /// Takes units from `first` as long as they fit; at least the unit `fresh` is among them.
    fn fill(
        text: &str,
        units: &[Unit],
        first: usize,
        fresh: usize,
        max_tokens: usize,
        counter: &dyn TokenCounter,
    ) -> Option<Self> {
        let mut first = first;
        let mut past = first;
        let mut sum = 0;
        for unit in units.get(first..)? {
            // A separator may be a token of its own.
            let with = sum + unit.tokens + usize::from(sum > 0);
            if with > max_tokens && past > fresh {
                break;
            }
            sum = with;
            past += 1;
        }
        // The sum is an estimate: tokens may join over the border of units. The exact count decides.
        loop {
            let start = units.get(first)?.start;
            let end = units.get(past.checked_sub(1)?)?.end;
            let tokens = counter.count(text.get(start..end)?);
            if tokens <= max_tokens || past - first <= 1 {
                return Some(Self { first, past, start, end, tokens });
            }
            if past > fresh + 1 { past -= 1 } else { first += 1 }
        }
    }
}

/// The first unit of the next chunk: the longest tail of `first..past` within the overlap, never all of it.
fn overlap_start(units: &[Unit], first: usize, past: usize, overlap_tokens: usize) -> usize {
    let mut start = past;
    let mut sum = 0;
    while start > first + 1 {
        let Some(unit) = units.get(start - 1) else { break };
        sum += unit.tokens + 1;
        if sum > overlap_tokens + 1 {
            break;
        }
        start -= 1;
    }
    start
}

/// Cuts a text into sentences, and long sentences into parts of at most `max_tokens`.
fn units(text: &str, max_tokens: usize, counter: &dyn TokenCounter) -> Vec<Unit> {
    let sentences = SentenceSegmenter::new(SentenceBreakInvariantOptions::default());
    let mut units = Vec::new();
    let mut start = 0;
    for end in sentences.segment_str(text) {
        if let Some((from, to)) = trimmed(text, start, end) {
            let tokens = text.get(from..to).map_or(0, |part| counter.count(part));
            if tokens <= max_tokens {
                units.push(Unit { start: from, end: to, tokens });
            } else {
                split_long(text, from, to, max_tokens, counter, &mut units);
            }
        }
        start = end;
    }
    units
}

/// Cuts a sentence that is too long between words; a word that is too long between graphemes or characters.
fn split_long(
    text: &str,
    start: usize,
    end: usize,
    max_tokens: usize,
    counter: &dyn TokenCounter,
    units: &mut Vec<Unit>,
) {
    let Some(part) = text.get(start..end) else { return };
    // Without the dictionaries of Chinese, Japanese and Thai, which are megabytes in every package: there a sentence of over
    // 400 tokens is cut between graphemes.
    let words = WordSegmenter::new_for_non_complex_scripts(WordBreakInvariantOptions::default());
    let mut graphemes = GraphemeClusterSegmenter::new().segment_str(part).peekable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for to in words.segment_str(part) {
        while graphemes.next_if(|border| *border < to).is_some() {}
        // Words of scripts that are cut by dictionary may end inside a grapheme.
        if from < to && graphemes.peek() == Some(&to) {
            pieces.push((from, to));
            from = to;
        }
    }
    let mut packer = Packer { text, base: start, max_tokens, counter, units, open: Vec::new(), sum: 0 };
    for (from, to) in pieces {
        let Some(word) = part.get(from..to) else { continue };
        let tokens = counter.count(word);
        if tokens <= max_tokens {
            packer.push(from, to, tokens);
            continue;
        }
        let mut inner = 0;
        for border in GraphemeClusterSegmenter::new().segment_str(word) {
            let Some(grapheme) = word.get(inner..border).filter(|grapheme| !grapheme.is_empty()) else {
                continue;
            };
            let tokens = counter.count(grapheme);
            if tokens <= max_tokens {
                packer.push(from + inner, from + border, tokens);
            } else {
                for (offset, letter) in grapheme.char_indices() {
                    let at = from + inner + offset;
                    let tokens = counter.count(letter.encode_utf8(&mut [0; 4]));
                    packer.push(at, at + letter.len_utf8(), tokens);
                }
            }
            inner = border;
        }
    }
    packer.flush();
}

/// Collects neighbouring pieces into units of at most `max_tokens`.
struct Packer<'a> {
    text: &'a str,
    base: usize,
    max_tokens: usize,
    counter: &'a dyn TokenCounter,
    units: &'a mut Vec<Unit>,
    /// Borders of the pieces of the unit in the making, relative to `base`, and their estimated tokens.
    open: Vec<(usize, usize)>,
    sum: usize,
}

impl Packer<'_> {
    fn push(&mut self, from: usize, to: usize, tokens: usize) {
        if self.sum + tokens > self.max_tokens {
            self.flush();
        }
        self.open.push((from, to));
        self.sum += tokens;
    }

    /// Makes units of the open pieces. Tokens of a whole may be more than those of its parts, so the exact count
    /// decides how many pieces one unit takes.
    fn flush(&mut self) {
        let pieces = std::mem::take(&mut self.open);
        self.sum = 0;
        let mut rest = pieces.as_slice();
        while let Some((from, _)) = rest.first() {
            let mut taken = rest.len();
            loop {
                let to = rest.get(taken - 1).map_or(*from, |piece| piece.1);
                let Some((start, end)) = trimmed(self.text, self.base + from, self.base + to) else { break };
                let tokens = self.text.get(start..end).map_or(0, |part| self.counter.count(part));
                if tokens <= self.max_tokens || taken == 1 {
                    self.units.push(Unit { start, end, tokens });
                    break;
                }
                taken -= 1;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
}

/// A byte range without white space at its ends, if anything remains.
fn trimmed(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let part = text.get(start..end)?;
    let left = part.len() - part.trim_start().len();
    let kept = part.trim().len();
    (kept > 0).then_some((start + left, start + left + kept))
}

/// Finds characters and pages of byte positions that mostly ascend.
struct Places<'a> {
    text: &'a str,
    /// Byte at which each page begins, and its number.
    pages: Vec<(usize, u32)>,
    byte: usize,
    chars: usize,
}

impl<'a> Places<'a> {
    fn new(pages: &[Page], text: &'a str) -> Self {
        let mut starts = Vec::with_capacity(pages.len());
        let mut at = 0;
        for page in pages {
            starts.push((at, page.number));
            at += page.text.len() + PAGE_SEPARATOR.len();
        }
        Self { text, pages: starts, byte: 0, chars: 0 }
    }

    /// Characters before `byte`, and the page `byte` is on.
    fn find(&mut self, byte: usize) -> (usize, u32) {
        if byte >= self.byte {
            self.chars += self.text.get(self.byte..byte).map_or(0, |part| part.chars().count());
        } else {
            // Back by an overlap at most.
            self.chars -= self.text.get(byte..self.byte).map_or(0, |part| part.chars().count());
        }
        self.byte = byte;
        (self.chars, self.page(byte))
    }

    /// Characters before `byte`, and the page of the last character before it.
    fn find_end(&mut self, byte: usize) -> (usize, u32) {
        let (chars, _) = self.find(byte);
        (chars, self.page(byte.saturating_sub(1)))
    }

    /// Characters from `start` to the beginning of each page that begins within `start..end`.
    fn breaks(&self, start: usize, end: usize) -> Vec<usize> {
        let first = self.pages.partition_point(|(page, _)| *page <= start);
        let within = self.pages.iter().skip(first).map(|(page, _)| *page).take_while(|page| *page < end);
        within.map(|page| self.text.get(start..page).map_or(0, |part| part.chars().count())).collect()
    }

    fn page(&self, byte: usize) -> u32 {
        let after = self.pages.partition_point(|(start, _)| *start <= byte);
        self.pages.get(after.saturating_sub(1)).map_or(1, |(_, number)| *number)
    }
}
