//! Whether anything that was found has to do with the question.

use crate::{
    language::{Language, language},
    words::{akin_coverage, content_words, words},
};
use docuchat_domain::index::Hit;

/// How far below the threshold a passage may lie that shares the question's words.
const LEXICAL_MARGIN: f64 = 0.04;
/// The share of the question's content words such a passage must hold, in one form or another.
const LEXICAL_COVERAGE: f64 = 0.5;
/// How far below the threshold a passage in the other script may lie: it cannot share the question's words, and embeds
/// a little further away.
const OTHER_SCRIPT_MARGIN: f64 = 0.025;

/// Whether a model should be asked at all.
///
/// Yes, if a passage's cosine similarity reaches the threshold (which belongs to the embedding model). No single threshold
/// separates answerable from unanswerable questions, because names, numbers and rare terms embed badly. So two kinds of
/// passages count although they lie a little below: those that hold half of the question's content words, and those in
/// the other script. The margins were chosen for local embeddings and a threshold of 0.84 by simulating the rule over the
/// recorded similarities of 75 questions in both languages; there is no held-out measurement yet.
#[must_use]
pub fn is_relevant(question: &str, hits: &[Hit], threshold: f64) -> bool {
    if words(question).is_empty() {
        return false;
    }
    let (wanted, script) = (content_words(question), language(question));
    hits.iter().any(|hit| {
        let near = |margin| hit.similarity >= threshold - margin;
        near(0.0)
            || (near(OTHER_SCRIPT_MARGIN) && language(&hit.text) != script)
            || (near(LEXICAL_MARGIN) && akin_coverage(&wanted, &content_words(&hit.text)) >= LEXICAL_COVERAGE)
    })
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
        let text = "Contract 4711: the notice periods are three months.";
        let at = |similarity| Hit { similarity, ..hit(0, text) };
        assert!(is_relevant("Who won the match?", &[at(0.8)], 0.8));
        assert!(!is_relevant("Who won the match?", &[at(0.79)], 0.8));
        assert!(is_relevant(question, &[at(0.765)], 0.8));
        assert!(!is_relevant(question, &[at(0.755)], 0.8), "too far below");
        assert!(!is_relevant("Who won the notice match?", &[at(0.79)], 0.8), "a third of the words");
        assert!(!is_relevant(question, &[], 0.0));
    }

    #[test]
    fn another_script_shares_no_words() {
        let at = |similarity| Hit { similarity, ..hit(0, "The notice period is three months.") };
        assert!(is_relevant("مهلت فسخ چقدر است؟", &[at(0.78)], 0.8));
        assert!(!is_relevant("مهلت فسخ چقدر است؟", &[at(0.77)], 0.8));
    }

    #[test]
    fn a_question_without_a_word_is_about_nothing() {
        let at = |similarity| Hit { similarity, ..hit(0, "Anything.") };
        for question in ["؟", "😀😀", "..."] {
            assert!(!is_relevant(question, &[at(0.99)], 0.8), "{question}");
        }
    }
}
