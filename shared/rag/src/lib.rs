//! From a question and the hits of a search to a prompt, and from a model's words to an answer with citations.
//!
//! Everything here is pure: no network, no clock, no settings. Tokens are counted by a closure that the caller brings.

mod citations;
mod follow_up;
mod language;
mod prompt;
mod relevance;
mod sentences;
mod sources;
mod words;

pub use citations::{MAX_QUOTE_CHARS, MarkFilter, cite, source_citations};
pub use follow_up::retrieval_query;
pub use language::{Language, language};
pub use prompt::{Message, Role, Turn, assemble, history_within, source_block};
pub use relevance::{is_relevant, refusal};
pub use sources::{Bounds, Part, Source, select};
