//! Words for comparison: folded as the search index folds them.

use std::collections::HashSet;

/// Words that say nothing about a subject, folded.
const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "also",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "been",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "does",
    "for",
    "from",
    "had",
    "has",
    "have",
    "he",
    "how",
    "i",
    "if",
    "in",
    "is",
    "it",
    "its",
    "many",
    "me",
    "much",
    "my",
    "of",
    "on",
    "or",
    "our",
    "shall",
    "she",
    "should",
    "so",
    "tell",
    "than",
    "that",
    "the",
    "their",
    "them",
    "there",
    "these",
    "they",
    "this",
    "those",
    "to",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "who",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "would",
    "you",
    "your",
    "از",
    "است",
    "ان",
    "انها",
    "اند",
    "این",
    "ایا",
    "با",
    "باید",
    "بر",
    "برای",
    "به",
    "بود",
    "بودند",
    "تا",
    "تر",
    "ترین",
    "چرا",
    "چطور",
    "چقدر",
    "چند",
    "چه",
    "چگونه",
    "چیست",
    "خود",
    "در",
    "درباره",
    "را",
    "شد",
    "شده",
    "شود",
    "کجا",
    "کدام",
    "کرد",
    "کرده",
    "کند",
    "کنند",
    "که",
    "کی",
    "کیست",
    "می",
    "نمی",
    "ها",
    "های",
    "هایی",
    "هر",
    "هست",
    "هستند",
    "هم",
    "و",
    "یا",
    "یک",
];

/// All words in order, folded.
pub(crate) fn words(text: &str) -> Vec<String> {
    let folded = docuchat_text::fold(text);
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The words that carry the subject; all words where there are no others.
pub(crate) fn content_words(text: &str) -> HashSet<String> {
    let all = words(text);
    let content: HashSet<String> =
        all.iter().filter(|word| !STOP_WORDS.contains(&word.as_str())).cloned().collect();
    if content.is_empty() { all.into_iter().collect() } else { content }
}

/// The share of `wanted` that `text` has, from 0 to 1, and how many words that is.
pub(crate) fn coverage(wanted: &HashSet<String>, text: &HashSet<String>) -> (f64, usize) {
    let shared = wanted.intersection(text).count();
    (ratio(shared, wanted.len()), shared)
}

/// As [`coverage`], where another form of a word counts as well ("months" for "month", «کتاب‌ها» for «کتاب»).
pub(crate) fn akin_coverage(wanted: &HashSet<String>, text: &HashSet<String>) -> f64 {
    let held =
        wanted.iter().filter(|word| text.contains(*word) || text.iter().any(|other| akin(word, other)));
    ratio(held.count(), wanted.len())
}

/// Whether two words of at least four letters begin alike and end differently: they share all but the last two letters
/// of the shorter one (four at least), and differ in length by at most four.
fn akin(a: &str, b: &str) -> bool {
    let (long, short) = (a.chars().count().max(b.chars().count()), a.chars().count().min(b.chars().count()));
    let alike = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    short >= 4 && long - short <= 4 && alike >= 4.max(short - 2)
}

/// `part / whole`, 0 where there is no whole.
pub(crate) fn ratio(part: usize, whole: usize) -> f64 {
    let number = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    if whole == 0 { 0.0 } else { number(part) / number(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_folded_themselves() {
        for word in STOP_WORDS {
            assert_eq!(&docuchat_text::fold(word), word);
        }
    }

    #[test]
    fn forms_of_a_word_are_akin() {
        for (a, b) in [("month", "months"), ("insured", "insurance"), ("مرخصی", "مرخصیها")] {
            assert!(akin(a, b) && akin(b, a), "{a} {b}");
        }
        for (a, b) in [("tea", "team"), ("lamp", "lime"), ("inter", "international")] {
            assert!(!akin(a, b), "{a} {b}");
        }
    }

    #[test]
    fn content_words_meet_over_spellings() {
        let wanted = content_words("كتاب‌هاي سال ۱۴۰۲ چیست؟");
        let text = content_words("کتابهای 1402");
        assert!(wanted.contains("1402") && text.contains("1402"));
        assert_eq!(content_words("what is it"), words("what is it").into_iter().collect());
    }
}
