//! Questions that lean on the one before.

use crate::words::words;
use std::borrow::Cow;

/// Words that point to something said before, folded. Only pronouns: Persian `این` and `آن` before a noun point as well,
/// and searching for a little more than was asked does no harm.
const POINTERS: &[&str] = &[
    "it",
    "its",
    "they",
    "them",
    "their",
    "theirs",
    "that",
    "this",
    "those",
    "these",
    "he",
    "she",
    "him",
    "her",
    "his",
    "hers",
    "there",
    "same",
    "latter",
    "former",
    "above",
    "previous",
    "ان",
    "این",
    "انها",
    "اینها",
    "او",
    "وی",
    "ایشان",
    "همین",
    "همان",
    "انجا",
    "اینجا",
    "قبلی",
    "مذکور",
    "فوق",
];

/// Beginnings of questions that go on from the one before, folded.
const CONTINUATIONS: &[&[&str]] = &[
    &["and"],
    &["or"],
    &["but"],
    &["what", "about"],
    &["how", "about"],
    &["why"],
    &["و"],
    &["پس"],
    &["اما"],
    &["ولی"],
    &["چرا"],
];

/// A question of at most so many words says too little to be searched for alone.
const SHORT_WORDS: usize = 3;

/// What to search for: the question itself, or the question before and this one together.
///
/// The rule, which needs no model: with a question before, a question leans on it if it has at most three words ("And in
/// 2023?"), begins with a word of continuation ("What about …", "چرا …") or holds a word that points back ("its", "آن").
#[must_use]
pub fn retrieval_query<'a>(question: &'a str, previous: Option<&str>) -> Cow<'a, str> {
    let Some(previous) = previous.map(str::trim).filter(|text| !text.is_empty()) else {
        return Cow::Borrowed(question);
    };
    let words = words(question);
    let continues =
        |start: &&[&str]| words.iter().map(String::as_str).take(start.len()).eq(start.iter().copied());
    let leans = words.len() <= SHORT_WORDS
        || CONTINUATIONS.iter().any(continues)
        || words.iter().any(|word| POINTERS.contains(&word.as_str()));
    if leans { Cow::Owned(format!("{previous}\n{question}")) } else { Cow::Borrowed(question) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_questions_that_lean_are_joined() {
        let before = "What is the notice period of the lease?";
        for leaning in [
            "And in 2023?",
            "Why?",
            "What about the deposit of the second flat?",
            "How long must its tenant wait then?",
            "چرا؟",
            "هزینه آن برای مستأجر چقدر است؟",
        ] {
            assert_eq!(retrieval_query(leaning, Some(before)), format!("{before}\n{leaning}"), "{leaning}");
            assert_eq!(retrieval_query(leaning, None), leaning);
        }
        let own = "Who signed the annual report of the company?";
        assert_eq!(retrieval_query(own, Some(before)), own);
        assert_eq!(retrieval_query(own, Some(" ")), own);
    }
}
