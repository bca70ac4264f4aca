//! A stand-in for the network in tests of faults: deterministic, instant, and without any meaning.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::simd::elementwise::normalize;

/// Values of one vector, the same as the real model's.
pub(crate) const DIMENSIONS: usize = 384;

/// Words of a text, each with an index that depends on its letters alone.
fn words(text: &str) -> impl Iterator<Item = u64> {
    text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()).map(|word| {
        let mut hasher = DefaultHasher::new();
        word.to_lowercase().hash(&mut hasher);
        hasher.finish()
    })
}

/// A made-up token count: one for each started group of four letters of a word, and two for the marks.
pub(crate) fn count_tokens(text: &str) -> usize {
    let pieces = text.split_whitespace().map(|word| word.chars().count().div_ceil(4));
    pieces.sum::<usize>() + 2
}

/// A bag of hashed words as a unit vector: texts that share words are similar, and nothing else is.
pub(crate) fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSIONS];
    for hash in words(text) {
        let slot = usize::try_from(hash % DIMENSIONS as u64).unwrap_or_default();
        if let Some(value) = vector.get_mut(slot) {
            *value += 1.0;
        }
    }
    if let Some(first) = vector.first_mut() {
        *first += 0.1; // an empty text still has a direction
    }
    normalize(&mut vector);
    vector
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot;

    #[test]
    fn the_same_words_give_the_same_vector() {
        assert_eq!(embed("Annual report"), embed("annual REPORT."));
        assert!(
            dot(&embed("annual report"), &embed("annual plan"))
                > dot(&embed("annual report"), &embed("red fox"))
        );
        assert!((dot(&embed(""), &embed("")) - 1.0).abs() < 1e-6);
    }
}
