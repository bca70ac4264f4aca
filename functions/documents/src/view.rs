//! A document as its tenant's people see it.

use docuchat_domain::{
    DocumentId, UserId,
    document::{Document, Status},
};
use jiff::Timestamp;
use serde::Serialize;

/// A document in answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileView {
    /// Its id.
    pub document_id: DocumentId,
    /// Who uploaded it.
    pub owner_id: UserId,
    /// What citations call it.
    pub title: String,
    /// The name it was uploaded under.
    pub file_name: String,
    /// The media type that the client named.
    pub content_type: String,
    /// Size in bytes: as announced until the object is there, then as it is.
    pub size: u64,
    /// Where it stands.
    pub status: Status,
    /// Progress from 0 to 100.
    pub percent: u8,
    /// How often a worker took it up.
    pub attempts: u32,
    /// Pages, once known.
    pub pages: Option<u32>,
    /// Chunks in the search index, once it is ready.
    pub chunks: Option<u32>,
    /// Why it failed, or why it waits for another attempt, as a stable code.
    pub error_code: Option<String>,
    /// The same as a sentence for people.
    pub error_message: Option<String>,
    /// When the upload was announced.
    pub created_at: Timestamp,
    /// When the status or the progress last changed.
    pub updated_at: Timestamp,
    /// When it became searchable.
    pub ready_at: Option<Timestamp>,
}

impl From<Document> for FileView {
    fn from(document: Document) -> Self {
        // The row keeps the cause of the last attempt while the next one is under way; a client would take it for a
        // failure.
        let has_error = matches!(document.status, Status::Failed | Status::Queued);
        Self {
            document_id: document.document_id,
            owner_id: document.owner_id,
            title: document.title,
            file_name: document.file_name,
            content_type: document.content_type,
            size: document.size,
            status: document.status,
            percent: document.percent,
            attempts: document.attempts,
            pages: document.pages,
            chunks: document.chunks,
            error_code: document.error_code.filter(|_| has_error),
            error_message: document.error_message.filter(|_| has_error),
            created_at: document.created_at,
            updated_at: document.updated_at,
            ready_at: document.ready_at,
        }
    }
}
