//! The derived artifact: a document's chunks and vectors as JSON lines, first the header, then a line per chunk. It
//! lets the search index be rebuilt without paying for embeddings again.

use crate::ids::{DocumentId, TenantId};
use serde::{Deserialize, Serialize};

/// The version of this format.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// The tenant.
    pub tenant_id: TenantId,
    /// The document.
    pub document_id: DocumentId,
    /// The version of its content.
    pub generation: u32,
    /// What citations call it.
    pub title: String,
    /// The name it was uploaded under.
    pub file_name: String,
    /// The model that made the vectors.
    pub embed_model: String,
    /// Numbers per vector.
    pub dimensions: u32,
    /// Pages of the document.
    pub pages: u32,
    /// Lines that follow.
    pub chunks: u32,
    /// SHA-256 of the uploaded object in lower-case hex.
    pub sha256: String,
}

/// Every further line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Position within the document, from 0.
    pub ordinal: u32,
    /// First page it touches, from 1.
    pub page_start: u32,
    /// Last page it touches.
    pub page_end: u32,
    /// Where in its text, in characters, each page after `page_start` begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub page_breaks: Vec<u32>,
    /// Where it begins in the document's text, in characters.
    pub char_start: u32,
    /// Where it ends, in characters, exclusive.
    pub char_end: u32,
    /// Its length in the model's tokens.
    pub tokens: u32,
    /// Its text.
    pub text: String,
    /// Base64 of little-endian `f32`s.
    pub vector: String,
}
