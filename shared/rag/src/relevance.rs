//! Whether anything that was found has to do with the question.

use crate::{
    language::Language,
    words::{content_words, coverage},
};
use docuchat_domain::index::Hit;

/// How far below the threshold a passage may lie that shares the question's words.
const LEXICAL_MARGIN: f64 = 0.05;
/// The share of the question's content words such a passage must hold.
const LEXICAL_COVERAGE: f64 = 0.6;
/// The least number of them: one shared word is a coincidence.
const LEXICAL_WORDS: usize = 2;

/// Whether a model should be asked at all.
///
/// Yes, if the best cosine similarity reaches the threshold (which belongs to the embedding model). Names, numbers and
/// rare terms embed badly, so there is a second, lexical rule: a passage at most 0.05 below the threshold counts as well
/// if the full-text half found it and it holds at least two, and at least 60 %, of the question's content words.
#[must_use]
pub fn is_relevant(question: &str, hits: &[Hit], threshold: f64) -> bool {
    if hits.iter().any(|hit| hit.similarity >= threshold) {
        return true;
    }
    let wanted = content_words(question);
    hits.iter().filter(|hit| hit.text_rank.is_some() && hit.similarity >= threshold - LEXICAL_MARGIN).any(
        |hit| {
            let (share, shared) = coverage(&wanted, &content_words(&hit.text));
            share >= LEXICAL_COVERAGE && shared >= LEXICAL_WORDS
        },
    )
}

/// The honest answer where nothing relevant was found.
#[must_use]
pub const fn refusal(language: Language) -> &'static str {
    match language {
        Language::English => {
            "I could not find anything about this in your documents, so I cannot answer it. Try other words, or upload a document that covers it."
        }
        Language::Persian => {
            "در اسناد شما مطلبی درباره‌ی این پرسش پیدا نکردم، بنابراین نمی‌توانم به آن پاسخ بدهم. پرسش را با واژه‌های دیگری بنویسید یا سندی بارگذاری کنید که به آن پرداخته باشد."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::tests::hit;

    #[test]
    fn similar_or_sharing_its_words() {
        let question = "What is the notice period of contract 4711?";
        let text = "Contract 4711: the notice period is three months.";
        let at = |similarity, text_rank| Hit { similarity, text_rank, ..hit(0, text) };
        assert!(is_relevant(question, &[at(0.8, None)], 0.8));
        assert!(!is_relevant(question, &[at(0.79, None)], 0.8), "the full-text half did not find it");
        assert!(is_relevant(question, &[at(0.76, Some(1))], 0.8));
        assert!(!is_relevant(question, &[at(0.74, Some(1))], 0.8), "too far below");
        assert!(!is_relevant("Who won the notice match?", &[at(0.79, Some(1))], 0.8), "one shared word");
        assert!(!is_relevant(question, &[], 0.0));
    }
}
