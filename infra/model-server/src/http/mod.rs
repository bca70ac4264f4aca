//! The HTTP side: routes, the state they share, and how a request is logged.

mod chat;
mod embeddings;
mod error;
mod faults;
mod stats;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::engine::Engine;

pub use faults::{Fault, FaultKind, FaultRoute};
pub use stats::{RouteStats, Stats};

/// 2048 inputs of a few kilobytes each.
const MOST_BODY_BYTES: usize = 32 << 20;

pub(crate) const QUERY_MODEL: &str = "e5-query";
pub(crate) const PASSAGE_MODEL: &str = "e5-passage";
pub(crate) const CHAT_MODEL: &str = "local-extractive";

/// What every handler sees.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) token_delay: std::time::Duration,
    pub(crate) faults: faults::Faults,
    pub(crate) stats: Arc<stats::Counters>,
    /// Becomes true when the server stops; a stalled answer must not outlive it.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) next_id: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        engine: Engine,
        token_delay: std::time::Duration,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            engine,
            token_delay,
            faults: faults::Faults::default(),
            stats: Arc::default(),
            stopping,
            next_id: AtomicU64::new(1),
        }
    }

    fn completion_id(&self) -> String {
        format!("chatcmpl-local-{}", self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until the server stops: how a stall ends when the client does not leave first.
    async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // An error means that the server is gone altogether.
        let _stopped = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/v1/models", get(models))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/chat/completions", post(chat::create))
        .route("/_faults", put(faults::set).delete(faults::clear).get(faults::show))
        .route("/_stats", get(stats::show).delete(stats::reset))
        .fallback(|| async { error::ApiError::not_found("unknown URL").into_response() })
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .with_state(shared)
}

async fn models(State(_): State<Arc<Shared>>) -> Json<Value> {
    let model = |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "local"});
    Json(json!({"object": "list", "data": [model(QUERY_MODEL), model(PASSAGE_MODEL), model(CHAT_MODEL)]}))
}

/// Seconds since 1970, as answers of this interface carry them.
#[expect(
    clippy::disallowed_methods,
    reason = "a field that nothing decides on; a test sees only that it is a number"
)]
fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

/// A body that breaks off in its middle, with the connection, before its framing says that it is over.
fn broken_body(text: &str) -> Body {
    let half = bytes::Bytes::copy_from_slice(text.as_bytes().split_at(text.len() / 2).0);
    let broken = async {
        // Head and first half must be on their way before the error closes the connection.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted))
    };
    Body::from_stream(stream::once(async { Ok(half) }).chain(stream::once(broken)))
}

/// The one log line of a request. No text of a document, question or answer.
fn log(route: &str, model: &str, response: &Response, started: Instant, fault: Option<FaultKind>) {
    tracing::info!(
        route,
        model,
        status = response.status().as_u16(),
        duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        fault = fault.map(tracing::field::debug),
        "request"
    );
}
