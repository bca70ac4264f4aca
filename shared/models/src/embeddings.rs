//! Texts to vectors.

use crate::service::{Service, accepted, unavailable};
use docuchat_domain::{Entropy, Error, Result, SystemEntropy};
use docuchat_kit::{Env, RuntimeError, logs};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Attempts per request, the first included.
const ATTEMPTS: u32 = 4;

/// Turns texts into vectors with the models of this deployment.
#[derive(Debug, Clone)]
pub struct Embedder {
    service: Service,
    document_model: String,
    query_model: String,
    dimensions: u32,
    batch: usize,
}

/// Vectors in the order of their texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embedded {
    /// One vector per text.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that the service counted.
    pub tokens: u64,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Response {
    data: Vec<Item>,
    #[serde(default)]
    usage: Counted,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize, Default)]
struct Counted {
    #[serde(default)]
    total_tokens: u64,
}

impl Embedder {
    /// From `EMBEDDING_MODEL`, `EMBEDDING_QUERY_MODEL` (default: the same), `EMBEDDING_DIMENSIONS` and
    /// `EMBEDDING_BATCH` (texts per request, default 32), and the service's own settings.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let document_model = env.required("EMBEDDING_MODEL")?;
        Ok(Self {
            service: Service::from_env(env)?,
            query_model: env.optional("EMBEDDING_QUERY_MODEL").unwrap_or_else(|| document_model.clone()),
            document_model,
            dimensions: env.required_parsed("EMBEDDING_DIMENSIONS", "a number")?,
            batch: env.parsed("EMBEDDING_BATCH", 32, "a number")?.clamp(1, 2048),
        })
    }

    /// The model that embeds documents: vectors of different models cannot be compared.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.document_model
    }

    /// Numbers per vector.
    #[must_use]
    pub const fn dimensions(&self) -> u32 {
        self.dimensions
    }

    /// Texts per request: what [`Embedder::documents`] should be given at a time.
    #[must_use]
    pub const fn batch_size(&self) -> usize {
        self.batch
    }

    /// Embeds passages of documents, in one request.
    pub async fn documents(&self, texts: &[String], deadline: Instant) -> Result<Embedded> {
        self.embed(&self.document_model, texts, deadline).await
    }

    /// Embeds a question.
    pub async fn query(&self, text: &str, deadline: Instant) -> Result<Embedded> {
        self.embed(&self.query_model, &[text.to_owned()], deadline).await
    }

    async fn embed(&self, model: &str, texts: &[String], deadline: Instant) -> Result<Embedded> {
        if texts.is_empty() {
            return Ok(Embedded::default());
        }
        let request = Request {
            model,
            input: texts,
            encoding_format: "float",
            // Only these models can shorten their vectors; others refuse the field.
            dimensions: model.starts_with("text-embedding-3").then_some(self.dimensions),
        };
        let mut attempt = 1;
        loop {
            logs::add("embedding_calls", 1);
            let left = deadline.saturating_duration_since(Instant::now());
            let result = match tokio::time::timeout(left, self.once(&request)).await {
                Ok(result) => result,
                Err(elapsed) => Err(unavailable("no answer before the deadline", &elapsed)),
            };
            let error = match result {
                Ok(embedded) => return Ok(embedded),
                Err(error) => error,
            };
            let pause = error.retry_after().unwrap_or_else(|| back_off(attempt, &SystemEntropy));
            let time_left = deadline.saturating_duration_since(Instant::now());
            if !error.kind().is_transient() || attempt == ATTEMPTS || pause >= time_left {
                return Err(error);
            }
            tracing::info!(attempt, ?pause, error = error.chain(), "embedding again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn once(&self, request: &Request<'_>) -> Result<Embedded> {
        let response = accepted(self.service.post("embeddings", request)).await?;
        let mut body: Response =
            response.json().await.map_err(|e| unavailable("not an embedding answer", &e))?;
        // The order is by index, which is not always the order of arrival.
        body.data.sort_by_key(|item| item.index);
        let in_order = body.data.iter().enumerate().all(|(position, item)| item.index == position);
        if body.data.len() != request.input.len() || !in_order {
            let counts = format!("{} vectors for {} texts", body.data.len(), request.input.len());
            return Err(unavailable("not one vector per text", &counts));
        }
        if let Some(item) = body.data.iter().find(|item| item.embedding.len() != self.dimensions as usize) {
            // No retry can help: the deployment is set up for another model.
            let lengths = format!("{} numbers instead of {}", item.embedding.len(), self.dimensions);
            return Err(Error::internal("embedding with EMBEDDING_DIMENSIONS", lengths));
        }
        Ok(Embedded {
            vectors: body.data.into_iter().map(|item| item.embedding).collect(),
            tokens: body.usage.total_tokens,
        })
    }
}

/// Exponential back-off with full jitter: up to 0.5, 1, 2 … seconds, and never less than 50 ms.
fn back_off(attempt: u32, entropy: &dyn Entropy) -> Duration {
    let mut random = [0; 2];
    entropy.fill(&mut random);
    let ceiling = 500_u64 << attempt.saturating_sub(1).min(5);
    let part = ceiling * u64::from(u16::from_le_bytes(random)) / u64::from(u16::MAX);
    Duration::from_millis(part.max(50))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::post};
    use docuchat_domain::Kind;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    /// A service that gives these answers one after the other, the last one for ever, and counts the calls.
    async fn service(answers: Vec<(u16, &'static str, &'static str)>) -> (Embedder, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let app = Router::new().route(
            "/v1/embeddings",
            post(move |_: Json<serde_json::Value>| async move {
                let n = counter.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
                let (status, retry_after, body) = answers[n];
                (StatusCode::from_u16(status).unwrap(), [("retry-after", retry_after)], body).into_response()
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let env = Env::of(&[
            ("OPENAI_BASE_URL", &url),
            ("OPENAI_API_KEY", "k"),
            ("EMBEDDING_MODEL", "m"),
            ("EMBEDDING_DIMENSIONS", "2"),
        ]);
        (Embedder::from_env(&env).unwrap(), calls)
    }

    const GOOD: &str = r#"{"data":[{"index":1,"embedding":[0,1]},{"index":0,"embedding":[1,0]}],"usage":{"total_tokens":7}}"#;

    fn texts() -> Vec<String> {
        vec!["a".into(), "b".into()]
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn vectors_come_in_the_order_of_the_texts() {
        let (embedder, _) = service(vec![(200, "", GOOD)]).await;
        let embedded = embedder.documents(&texts(), soon()).await.unwrap();
        assert_eq!((embedded.vectors, embedded.tokens), (vec![vec![1.0, 0.0], vec![0.0, 1.0]], 7));
    }

    #[tokio::test]
    async fn passing_failures_are_tried_again() {
        let answers =
            vec![(500, "", "oops"), (429, "0", "<html>busy</html>"), (200, "", "not json"), (200, "", GOOD)];
        let (embedder, calls) = service(answers).await;
        assert!(embedder.documents(&texts(), soon()).await.is_ok());
        assert_eq!(calls.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn a_long_retry_after_is_handed_back_at_once() {
        let (embedder, calls) = service(vec![(429, "3600", "{}")]).await;
        let error = embedder.documents(&texts(), soon()).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (Kind::RateLimited, "model_busy"));
        assert_eq!(error.retry_after(), Some(Duration::from_hours(1)));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn lasting_failures_are_not_tried_again() {
        for (status, body, code) in [
            (401, r#"{"error":{"message":"bad key"}}"#, "model_rejected"),
            (400, r#"{"error":{"code":"context_length_exceeded"}}"#, "context_length_exceeded"),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#, "model_rejected"),
            (200, r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1]}]}"#, "internal"),
        ] {
            let (embedder, calls) = service(vec![(status, "", body)]).await;
            assert_eq!(embedder.documents(&texts(), soon()).await.unwrap_err().code(), code);
            assert_eq!(calls.load(Ordering::SeqCst), 1, "{code}");
        }
    }
}
