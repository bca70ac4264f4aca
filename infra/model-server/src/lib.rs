//! A small OpenAI-compatible model service for work without a key: real multilingual embeddings and an honest extractive
//! answerer, with faults that tests can switch on.
//!
//! - [`Engine`] turns texts into vectors (multilingual-e5-small from 4-bit weights).
//! - [`Server`] offers it over HTTP: `POST /v1/embeddings`, `POST /v1/chat/completions`, `GET /v1/models`, `GET /healthz`,
//!   and for tests `/_faults` and `/_stats`. Any key is accepted.
#![warn(missing_docs)]

mod cache;
mod encoder;
mod engine;
pub mod extractive;
mod hashing;
mod http;
pub mod prompt;
mod q4;
mod sentences;
mod server;
mod simd;
mod tokenizer;
mod weights;

pub use engine::{Embedding, Engine, EngineStopped, Role, Urgency};
pub use http::{Fault, FaultKind, FaultRoute, RouteStats, Stats};
pub use server::{Server, ServerOptions};
pub use simd::elementwise::dot;
pub use weights::WeightsError;
