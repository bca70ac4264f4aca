//! Token counts, as the model services bill them.

use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

/// Counts the tokens of a text.
pub trait TokenCounter: Send + Sync {
    /// Number of tokens of `text`, special tokens read as ordinary text.
    fn count(&self, text: &str) -> usize;

    /// Name of the encoding, such as `cl100k_base`.
    fn name(&self) -> &'static str;
}

/// The encoding of the `text-embedding-3` and `gpt-4` families. Loaded on first use (about 70 ms), once a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cl100k;

/// The encoding of the `gpt-4o`, `gpt-4.1`, `gpt-5` and `o` families. Loaded on first use (about 160 ms), once a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct O200k;

impl TokenCounter for Cl100k {
    fn count(&self, text: &str) -> usize {
        count(cl100k_base_singleton(), text)
    }

    fn name(&self) -> &'static str {
        "cl100k_base"
    }
}

impl TokenCounter for O200k {
    fn count(&self, text: &str) -> usize {
        count(o200k_base_singleton(), text)
    }

    fn name(&self) -> &'static str {
        "o200k_base"
    }
}

/// Longest run without white space given to the encoder at once, in bytes.
///
/// The encoder's merge is quadratic in the length of a word, so that one word of a megabyte would take hours. Real words
/// are shorter; for longer runs the count may be off by one a piece.
const LONGEST_WORD: usize = 2_000;

fn count(bpe: &CoreBPE, text: &str) -> usize {
    let mut total = 0;
    let mut rest = text;
    while let Some((piece, after)) = split_long_word(rest) {
        total += bpe.count_ordinary(piece);
        rest = after;
    }
    total + bpe.count_ordinary(rest)
}

/// Cuts `text` inside its first word that is too long, if it has one.
fn split_long_word(text: &str) -> Option<(&str, &str)> {
    if text.len() <= LONGEST_WORD {
        return None;
    }
    let mut run = 0;
    let mut white = false;
    for (at, letter) in text.char_indices() {
        // White space is a run of its own: the encoder takes it together as well.
        let is_white = letter.is_whitespace();
        if is_white == white {
            run += letter.len_utf8();
        } else {
            run = letter.len_utf8();
            white = is_white;
        }
        if run > LONGEST_WORD {
            return text.split_at_checked(at);
        }
    }
    None
}

/// The counter of a model, by its name.
///
/// Models that do not use an `OpenAI` encoding (the local e5 models among them) are counted with `cl100k_base`: for
/// those the count is an estimate, on the high side for most languages.
#[must_use]
pub fn counter_for_model(model: &str) -> &'static dyn TokenCounter {
    const O200K: [&str; 8] = ["gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "chatgpt-4o", "o1", "o3", "o4"];
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    if O200K.iter().any(|prefix| name.starts_with(prefix)) { &O200k } else { &Cl100k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_choose_their_encoding() {
        for (model, name) in [
            ("gpt-4o-mini", "o200k_base"),
            ("gpt-5-nano", "o200k_base"),
            ("openai/gpt-4.1", "o200k_base"),
            ("ft:gpt-4o-2024-08-06:acme", "o200k_base"),
            ("o3-mini", "o200k_base"),
            ("gpt-4-turbo", "cl100k_base"),
            ("text-embedding-3-small", "cl100k_base"),
            ("e5-passage", "cl100k_base"),
            ("", "cl100k_base"),
        ] {
            assert_eq!(counter_for_model(model).name(), name, "{model}");
        }
    }

    #[test]
    fn counts_are_those_of_the_published_encodings() {
        // From the cookbook of the encodings' authors.
        assert_eq!(Cl100k.count("tiktoken is great!"), 6);
        assert_eq!(O200k.count("antidisestablishmentarianism"), 6);
        assert_eq!(Cl100k.count(""), 0);
        assert!(Cl100k.count("سلام دنیا") > 0);
        // Special tokens are counted as the text they are.
        assert!(Cl100k.count("<|endoftext|>") > 1);
    }

    #[test]
    fn a_very_long_word_is_counted_in_reasonable_time() {
        let word = "a".repeat(300_000);
        assert!(Cl100k.count(&word) > 10_000);
        let white = " ".repeat(300_000);
        assert!(Cl100k.count(&white) > 100);
    }
}
