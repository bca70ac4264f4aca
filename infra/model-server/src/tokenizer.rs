//! `SentencePiece` unigram tokenizer of XLM-RoBERTa: normalization map, metaspace, Viterbi over piece scores.
//!
//! Source: Kudo, "Subword Regularization" (2018), section 3.2, for the model; the weights file for pieces and map.

use std::collections::HashMap;

/// `SentencePiece` writes a space as this character.
const METASPACE: char = '\u{2581}';
/// Added to the lowest score for a character that no piece covers.
const UNKNOWN_PENALTY: f32 = -10.0;
/// The score of a position that no segmentation reaches.
const UNREACHED: f32 = -1e30;

/// What the weights file holds of the tokenizer.
#[derive(Debug)]
pub(crate) struct TokenizerParts {
    /// Piece that begins a sequence.
    pub(crate) begin: u32,
    /// Piece that ends a sequence.
    pub(crate) end: u32,
    /// Piece of an unknown character.
    pub(crate) unknown: u32,
    /// Where each piece begins in `blob`, and where the last ends.
    pub(crate) offsets: Vec<u32>,
    /// Log probability of each piece.
    pub(crate) scores: Vec<f32>,
    /// The pieces' bytes.
    pub(crate) blob: Vec<u8>,
    /// Replacement of a character before segmentation.
    pub(crate) map: HashMap<char, String>,
}

/// A ready tokenizer.
pub(crate) struct Tokenizer {
    parts: TokenizerParts,
    /// Open addressing by FNV-1a: piece index + 1, or 0 for an empty slot. The length is a power of two.
    table: Vec<u32>,
    unknown_score: f32,
    longest_piece: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("pieces", &self.parts.scores.len()).finish_non_exhaustive()
    }
}

/// One step of the best segmentation that ends at a character.
#[derive(Clone, Copy)]
struct Step {
    score: f32,
    piece: u32,
    from: usize,
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

impl Tokenizer {
    /// Builds the lookup table. `None` when offsets, scores and bytes do not fit together.
    pub(crate) fn new(parts: TokenizerParts) -> Option<Self> {
        let pieces = parts.scores.len();
        let pieces_32 = u32::try_from(pieces).ok()?;
        if parts.offsets.len() != pieces + 1
            || !parts.offsets.is_sorted()
            || usize::try_from(*parts.offsets.last()?).ok()? > parts.blob.len()
            || parts.begin >= pieces_32
            || parts.end >= pieces_32
            || parts.unknown >= pieces_32
        {
            return None;
        }
        let lowest = parts.scores.iter().copied().fold(f32::INFINITY, f32::min);
        let mut tokenizer = Self {
            table: vec![0; (pieces * 2).next_power_of_two()],
            unknown_score: lowest + UNKNOWN_PENALTY,
            longest_piece: 0,
            parts,
        };
        for index in 0..pieces_32 {
            let piece = tokenizer.piece(index)?;
            let length = piece.len();
            if length == 0 {
                continue;
            }
            let mut slot = tokenizer.slot(piece.iter().copied().fold(FNV_START, fnv));
            while tokenizer.table.get(slot).is_some_and(|&entry| entry != 0) {
                slot = (slot + 1) & (tokenizer.table.len() - 1);
            }
            *tokenizer.table.get_mut(slot)? = index + 1;
            tokenizer.longest_piece = tokenizer.longest_piece.max(length);
        }
        Some(tokenizer)
    }

    /// The largest piece index plus one.
    pub(crate) fn pieces(&self) -> usize {
        self.parts.scores.len()
    }

    fn piece(&self, index: u32) -> Option<&[u8]> {
        let index = usize::try_from(index).ok()?;
        let from = usize::try_from(*self.parts.offsets.get(index)?).ok()?;
        let to = usize::try_from(*self.parts.offsets.get(index + 1)?).ok()?;
        self.parts.blob.get(from..to)
    }

    fn slot(&self, hash: u64) -> usize {
        usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() & (self.table.len() - 1)
    }

    fn find(&self, hash: u64, bytes: &[u8]) -> Option<u32> {
        let mut slot = self.slot(hash);
        loop {
            let index = self.table.get(slot)?.checked_sub(1)?;
            if self.piece(index)? == bytes {
                return Some(index);
            }
            slot = (slot + 1) & (self.table.len() - 1);
        }
    }

    /// Replaces characters, collapses spaces and marks them; a leading mark is always there.
    fn normalize(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + text.len() / 4 + METASPACE.len_utf8());
        let mut buffer = [0; 4];
        for character in text.chars() {
            let replaced = match self.parts.map.get(&character) {
                Some(replacement) => replacement.as_str(),
                None => character.encode_utf8(&mut buffer),
            };
            for character in replaced.chars() {
                if character != ' ' {
                    if out.is_empty() {
                        out.push(METASPACE);
                    }
                    out.push(character);
                } else if !out.ends_with(METASPACE) {
                    out.push(METASPACE);
                }
            }
        }
        if out.is_empty() {
            out.push(METASPACE);
        }
        out
    }

    /// The pieces of a text, without the marks for begin and end.
    pub(crate) fn encode(&self, text: &str) -> Vec<u32> {
        let text = self.normalize(text);
        // steps[i] is the best way to byte i; bytes within a character stay unreached.
        let unreached = Step { score: UNREACHED, piece: self.parts.unknown, from: 0 };
        let mut steps = vec![unreached; text.len() + 1];
        if let Some(first) = steps.first_mut() {
            first.score = 0.0;
        }
        for (from, character) in text.char_indices() {
            let Some(&Step { score: base, .. }) = steps.get(from) else { break };
            let mut hash = FNV_START;
            let rest = text.get(from..).unwrap_or_default().as_bytes();
            for (index, &byte) in rest.iter().take(self.longest_piece).enumerate() {
                hash = fnv(hash, byte);
                let length = index + 1;
                if !text.is_char_boundary(from + length) {
                    continue;
                }
                let Some(piece) = rest.get(..length).and_then(|bytes| self.find(hash, bytes)) else {
                    continue;
                };
                if piece == self.parts.unknown {
                    continue;
                }
                let piece_score = usize::try_from(piece).ok().and_then(|piece| self.parts.scores.get(piece));
                improve(
                    &mut steps,
                    from + length,
                    from,
                    piece,
                    base + piece_score.copied().unwrap_or(UNREACHED),
                );
            }
            improve(
                &mut steps,
                from + character.len_utf8(),
                from,
                self.parts.unknown,
                base + self.unknown_score,
            );
        }
        let mut pieces = Vec::with_capacity(text.len() / 3);
        let mut at = text.len();
        while at > 0 {
            let Some(step) = steps.get(at) else { break };
            pieces.push(step.piece);
            at = step.from;
        }
        pieces.reverse();
        pieces
    }

    /// The pieces of a text between the marks for begin and end, cut so that all fit into `limit` positions.
    pub(crate) fn sequence(&self, text: &str, limit: usize) -> Vec<u32> {
        let mut pieces = self.encode(text);
        pieces.truncate(limit.saturating_sub(2));
        pieces.insert(0, self.parts.begin);
        pieces.push(self.parts.end);
        pieces
    }
}

fn improve(steps: &mut [Step], at: usize, from: usize, piece: u32, score: f32) {
    if let Some(step) = steps.get_mut(at).filter(|step| score > step.score) {
        *step = Step { score, piece, from };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(pieces: &[(&str, f32)]) -> Tokenizer {
        let mut offsets = vec![0];
        let mut blob = Vec::new();
        for (piece, _) in pieces {
            blob.extend_from_slice(piece.as_bytes());
            offsets.push(u32::try_from(blob.len()).unwrap());
        }
        Tokenizer::new(TokenizerParts {
            begin: 0,
            end: 2,
            unknown: 3,
            offsets,
            scores: pieces.iter().map(|&(_, score)| score).collect(),
            blob,
            map: HashMap::from([
                ('\n', " ".to_owned()),
                ('ﷲ', "الله".to_owned()),
                ('\u{200b}', String::new()),
            ]),
        })
        .unwrap()
    }

    const PIECES: [(&str, f32); 9] = [
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -3.0),
        ("▁سلام", -4.0),
        ("a", -5.0),
        ("ab", -6.0),
        ("b", -0.5),
    ];

    #[test]
    fn the_best_segmentation_wins_not_the_longest_piece() {
        let tokenizer = tokenizer(&PIECES);
        assert_eq!(tokenizer.encode("ab"), [4, 6, 8]);
        assert_eq!(tokenizer.encode("سلام"), [5]);
    }

    #[test]
    fn spaces_collapse_and_line_ends_are_spaces() {
        let tokenizer = tokenizer(&PIECES);
        assert_eq!(tokenizer.encode("  b \n\n b"), tokenizer.encode("b b"));
        assert_eq!(tokenizer.normalize("\u{200b}b"), "▁b");
        assert_eq!(tokenizer.normalize(""), "▁");
    }

    #[test]
    fn unknown_characters_are_one_piece_each() {
        assert_eq!(tokenizer(&PIECES).encode("b漢字"), [4, 8, 3, 3]);
    }

    #[test]
    fn a_sequence_never_exceeds_its_limit() {
        let tokenizer = tokenizer(&PIECES);
        let sequence = tokenizer.sequence(&"b".repeat(1000), 512);
        assert_eq!((sequence.len(), sequence[0], sequence[511]), (512, 0, 2));
    }

    #[test]
    fn inconsistent_parts_are_refused() {
        let parts = TokenizerParts {
            begin: 0,
            end: 0,
            unknown: 0,
            offsets: vec![0, 9],
            scores: vec![0.0],
            blob: vec![0],
            map: HashMap::new(),
        };
        assert!(Tokenizer::new(parts).is_none());
    }
}
