//! Tests with the real weights, which are fetched when they are not there yet (`DOCUCHAT_E5_WEIGHTS` names others).
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use std::time::Instant;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use docuchat_model_server::{
    Engine, Role, Urgency, dot, extractive,
    prompt::{Prompt, Source},
};
use serde::Deserialize;

/// The engine, shared by the tests of this file.
fn engine() -> Engine {
    static ENGINE: std::sync::OnceLock<Engine> = std::sync::OnceLock::new();
    ENGINE.get_or_init(|| Engine::load(&docuchat_local::testing::weights().unwrap(), 2).unwrap()).clone()
}

/// A vector made by the C engine of the package that the weights are from. It rounds activations to 8 bits; we do not.
#[derive(Deserialize)]
struct Golden {
    role: String,
    text: String,
    #[serde(default)]
    repeat: Option<usize>,
    tokens: usize,
    vector: String,
}

#[test]
fn vectors_and_token_counts_are_those_of_the_reference_engine() {
    let engine = engine();
    let golden: Vec<Golden> = serde_json::from_str(include_str!("golden.json")).unwrap();
    for Golden { role, text, repeat, tokens, vector } in golden {
        let role = if role == "query" { Role::Query } else { Role::Passage };
        let text = text.repeat(repeat.unwrap_or(1));
        let bytes = STANDARD.decode(vector).unwrap();
        let want: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let own = engine.embed_blocking(role, std::slice::from_ref(&text)).unwrap().remove(0);
        assert_eq!(own.tokens, tokens, "{text}");
        assert!((dot(&own.vector, &own.vector) - 1.0).abs() < 1e-5);
        let cosine = dot(&own.vector, &want);
        assert!(cosine > 0.9995, "{cosine} {text}");
    }
}

#[test]
fn a_batch_gives_the_same_vectors_as_one_at_a_time_and_long_texts_are_cut() {
    let engine = engine();
    let texts = [
        "short",
        "درآمد شرکت چقدر بود؟",
        &"a longer text with more words ".repeat(40),
        &"کلمه ".repeat(3000),
    ];
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    let together = engine.embed_blocking(Role::Passage, &texts).unwrap();
    for (text, one) in texts.iter().zip(&together) {
        let alone = engine.embed_blocking(Role::Passage, std::slice::from_ref(text)).unwrap().remove(0);
        assert!(dot(&alone.vector, &one.vector) > 0.99999);
        assert_eq!(alone.tokens, one.tokens);
    }
    assert_eq!(together[3].tokens, 512);
}

#[derive(Deserialize)]
struct Quality {
    passages: Vec<String>,
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    ask: String,
    want: Option<String>,
    passage: usize,
}

/// Each question with six of the passages, the one that answers it third.
fn prompt(quality: &Quality, question: &Question) -> Prompt {
    let count = quality.passages.len();
    let sources = [count - 2, count - 1, 0, 1, 2, 3].into_iter().enumerate().map(|(index, shift)| Source {
        id: (index + 1).to_string(),
        title: "test".to_owned(),
        text: quality.passages[(question.passage + shift) % count].clone(),
    });
    Prompt { question: question.ask.clone(), sources: sources.collect() }
}

#[tokio::test]
async fn questions_in_two_languages_get_the_right_sentence_or_an_honest_no() {
    let engine = engine();
    let quality: Quality = serde_json::from_str(include_str!("quality.json")).unwrap();
    let (mut found, mut answerable, mut refused, mut unanswerable) = (0, 0, 0, 0);
    for question in &quality.questions {
        let answer = extractive::answer(&engine, &prompt(&quality, question)).await.unwrap();
        let said_no = answer.contains("could not find") || answer.contains("پیدا نشد");
        let right = if let Some(want) = &question.want {
            answerable += 1;
            let right = answer.contains(want.as_str()) && answer.contains("[3]");
            found += usize::from(right);
            right
        } else {
            unanswerable += 1;
            refused += usize::from(said_no);
            said_no
        };
        if !right {
            eprintln!("missed: {} -> {answer}", question.ask);
        }
        assert!(!answer.contains("BANANA"), "{answer}");
    }
    eprintln!("{found} of {answerable} found, {refused} of {unanswerable} refused");
    assert!(found * 10 >= answerable * 9, "{found} of {answerable}");
    assert!(refused * 10 >= unanswerable * 9, "{refused} of {unanswerable}");
}

#[tokio::test]
async fn speed_is_printed() {
    let engine = engine();
    let quality: Quality = serde_json::from_str(include_str!("quality.json")).unwrap();
    // Passages of about 400 tokens, different ones so that no cache helps.
    let texts: Vec<String> = (0..8)
        .map(|i| {
            let parts: Vec<String> = (0..4)
                .map(|j| {
                    quality.passages[(i + j) % quality.passages.len()].replace(". ", &format!(" {i}-{j}. "))
                })
                .collect();
            parts.join("\n").chars().take(1700).collect()
        })
        .collect();
    let started = Instant::now();
    let embeddings = engine.embed(Role::Passage, &texts, Urgency::Bulk).await.unwrap();
    let tokens: usize = embeddings.iter().map(|embedding| embedding.tokens).sum();
    eprintln!("{} passages, {tokens} tokens: {:?} on two threads", texts.len(), started.elapsed());
    let sources: Vec<Source> = texts
        .iter()
        .take(6)
        .enumerate()
        .map(|(index, text)| Source { id: index.to_string(), title: String::new(), text: text.clone() })
        .collect();
    for ask in ["How many days of leave do I get?", "How many days of leave do I get now?"] {
        let started = Instant::now();
        let prompt = Prompt { question: ask.to_owned(), sources: sources.clone() };
        let ranked = extractive::rank(&engine, &prompt).await.unwrap().len();
        eprintln!("answer from six passages, {ranked} sentences: {:?}", started.elapsed());
    }
}
