//! `DELETE /v1/files/{document_id}` -> 202 [`Deleting`]
//!
//! Sets the tombstone and queues the erasure; asking again while it runs is harmless and orders it once more.
//! Errors: 403 `role_required` (viewers), `not_owner` (members delete their own documents, admins all), 404
//! `document_not_found`.

use crate::{NOT_FOUND, not_found};
use docuchat_aws::{documents::Documents, queue::Queue};
use docuchat_domain::{
    Clock as _, DocumentId, Error, Kind, Result, SystemClock, document::Status, ingestion::Job, limits,
    tenant::Role,
};
use docuchat_kit::{
    Env, RuntimeError,
    identity::Tokens,
    rest::{Call, Reply},
};
use jiff::SignedDuration;
use serde::Serialize;

/// The erasure was ordered.
#[derive(Debug, Serialize)]
pub struct Deleting {
    /// The document.
    pub document_id: DocumentId,
    /// `deleting`.
    pub status: Status,
}

/// The route.
#[derive(Debug)]
pub struct DeleteFile {
    tokens: Tokens,
    documents: Documents,
    queue: Queue,
}

impl DeleteFile {
    /// From `TOKEN_SECRETS`, `DOCUMENTS_TABLE` and `INGEST_QUEUE_URL`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = docuchat_aws::config();
        Ok(Self {
            tokens: Tokens::from_env(env)?,
            documents: Documents::new(&config, env.required("DOCUMENTS_TABLE")?),
            queue: Queue::new(&config, env.required("INGEST_QUEUE_URL")?),
        })
    }

    /// Answers one call.
    pub async fn handle(&self, call: Call) -> Result<Reply> {
        let member = self.tokens.member(&call, &SystemClock)?;
        member.at_least(Role::Member)?;
        let document_id = call.path_id("document_id", NOT_FOUND, "document")?;
        let document = self.documents.get(member.tenant_id, document_id).await?;
        let document =
            document.filter(|document| document.status != Status::Deleted).ok_or_else(not_found)?;
        if document.owner_id != member.user_id && member.role < Role::Admin {
            return Err(Error::new(
                Kind::Forbidden,
                "not_owner",
                "Only its owner or an admin may delete a document.",
            ));
        }
        let now = SystemClock.now();
        let due_at = now.saturating_add(SignedDuration::from_secs(limits::ERASE_SECONDS)).unwrap_or(now);
        // First the row: if the queue fails now, the reaper orders the erasure later.
        self.documents.mark_deleting(member.tenant_id, document_id, due_at, now).await?;
        self.queue.send(&Job::Erase { tenant_id: member.tenant_id, document_id }).await?;
        Reply::json(202, &Deleting { document_id, status: Status::Deleting })
    }
}
