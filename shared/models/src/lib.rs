//! Embeddings and chat over any OpenAI-compatible service (`OPENAI_BASE_URL`, `OPENAI_API_KEY`).
//!
//! A client of our own on `reqwest` instead of `async-openai`, because the failure rules are ours: a `Retry-After` is
//! slept out only within the caller's deadline and otherwise handed back, a refusal that is not JSON is still a
//! refusal, and a stream that ends without a finish reason has failed. Every error is a [`docuchat_domain::Error`]:
//!
//! | kind | code | when |
//! |---|---|---|
//! | `RateLimited` | `model_busy` | 429; `retry_after` as the service said |
//! | `Unavailable` | `model_unavailable` | 5xx, 408, no connection, time-out, an answer that is not what was asked for |
//! | `Unavailable` | `model_stream_cut` | the stream ended without a finish reason or with an error event |
//! | `Invalid` | `context_length_exceeded` | the prompt is longer than the model takes |
//! | `Internal` | `model_rejected` | any other 4xx: key, model name or request are wrong |

mod chat;
mod embeddings;
mod probe;
mod service;
mod sse;

pub use chat::{Chat, ChatRequest, ChatStream, Event, Message, Role, TokenUsage};
pub use embeddings::{Embedded, Embedder};
pub use probe::Probe;

use docuchat_domain::{
    Error, Result,
    catalogue::{Catalogue, Model},
};
use docuchat_kit::{Env, env::SettingError};

/// The whitelist of chat models from `CHAT_MODELS` (a JSON array of [`Model`]s) with `CHAT_MODEL` as the default.
pub fn catalogue(env: &Env) -> Result<Catalogue> {
    let setting = |error: SettingError| Error::internal("reading the settings", error);
    let default = env.required("CHAT_MODEL").map_err(setting)?;
    let models: Vec<Model> = serde_json::from_str(&env.required("CHAT_MODELS").map_err(setting)?)
        .map_err(|e| Error::internal("reading CHAT_MODELS, a JSON array of models with their prices", e))?;
    Catalogue::new(models, &default)
}
