//! The payloads of the `index-*` functions: the only way to the search index.

use crate::ids::{CollectionId, DocumentId, TenantId};
use serde::{Deserialize, Serialize};

/// Asks `index-write` to take an artifact in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRequest {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The document.
    pub document_id: DocumentId,
    /// The version of its content; an older one than the live one is refused.
    pub generation: u32,
    /// The set it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_id: Option<CollectionId>,
    /// Where the artifact lies.
    pub bucket: String,
    /// Its key.
    pub artifact_key: String,
}

/// What `index-write` did. Anything else is a function error and worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum WriteOutcome {
    /// Readers see this generation, whole.
    Written {
        /// Chunks of it.
        chunks: u32,
    },
    /// The document was erased; nothing was written.
    Erased,
    /// A newer generation is live; nothing was written.
    Stale,
    /// The artifact contradicts itself or the deployment; a retry cannot help.
    InvalidArtifact {
        /// What is wrong with it, for the log.
        reason: String,
    },
}

/// Asks `index-search`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SearchCall {
    /// Whether the database answers.
    Ping {
        /// Always true.
        ping: bool,
    },
    /// A search.
    Search(SearchRequest),
}

/// A hybrid search within one tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The question, for the full-text half.
    pub text: String,
    /// Its embedding, for the vector half.
    pub vector: Vec<f32>,
    /// The most hits wanted.
    pub limit: u32,
    /// Only documents of these sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collections: Option<Vec<CollectionId>>,
    /// Only these documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Vec<DocumentId>>,
}

/// What a search found, best first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SearchResponse {
    /// The hits.
    pub hits: Vec<Hit>,
    /// Time in the database, in milliseconds.
    pub took_ms: u64,
}

/// One chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Its document.
    pub document_id: DocumentId,
    /// The document's title.
    pub title: String,
    /// The version of the document's content.
    pub generation: u32,
    /// Position within the document, from 0.
    pub ordinal: u32,
    /// First page it touches, from 1.
    pub page_start: u32,
    /// Last page it touches.
    pub page_end: u32,
    /// Where in its text, in characters, each page after `page_start` begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub page_breaks: Vec<u32>,
    /// Its text.
    pub text: String,
    /// Its length in the model's tokens.
    pub tokens: u32,
    /// Reciprocal-rank-fusion score.
    pub score: f64,
    /// Cosine similarity to the question, from -1 to 1.
    pub similarity: f64,
    /// Rank among the vector hits, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector_rank: Option<u32>,
    /// Rank among the full-text hits, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_rank: Option<u32>,
}

/// The answer to a ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingResponse {
    /// Whether the database answered.
    pub ok: bool,
    /// The last migration applied.
    pub migration: String,
    /// Time of the round trip, in milliseconds.
    pub took_ms: u64,
}

/// Asks `index-erase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseRequest {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The document.
    pub document_id: DocumentId,
}

/// What `index-erase` removed; zeros when it was called before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseResponse {
    /// Chunks removed.
    pub chunks: u64,
    /// Document rows removed.
    pub documents: u64,
}
