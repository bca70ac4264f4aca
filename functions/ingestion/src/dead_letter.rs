//! `ingest-dead-letter`: the queue gave a message up; its document says so.
//!
//! Always acknowledges. What cannot be written now stays due in the table, and the reaper ends it.

use crate::{
    message::{self, Message},
    policy,
};
use aws_lambda_events::sqs::SqsMessage;
use docuchat_aws::documents::{Documents, Guard};
use docuchat_domain::{
    Clock as _, DocumentId, Kind, Result, SystemClock, TenantId,
    document::{Document, Status, keys},
    ingestion::Job,
};
use docuchat_kit::{Env, RuntimeError, batch::Outcome, invoke::Invocation, logs};
use jiff::Timestamp;

/// The function.
#[derive(Debug)]
pub struct DeadLetter {
    documents: Documents,
}

impl DeadLetter {
    /// From `DOCUMENTS_TABLE`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = docuchat_aws::config();
        Ok(Self { documents: Documents::new(&config, env.required("DOCUMENTS_TABLE")?) })
    }

    /// Closes what one message was about.
    pub async fn handle(&self, message: SqsMessage, _: Invocation) -> Outcome {
        let named = match message::parse(message.body.as_deref().unwrap_or_default()) {
            Some(Message::Objects(object_keys)) => object_keys
                .iter()
                .filter_map(|key| keys::parse_upload(key).map(|(tenant, document, _)| (tenant, document)))
                .collect(),
            Some(Message::Job(Job::Ingest { tenant_id, document_id })) => vec![(tenant_id, document_id)],
            Some(Message::Job(Job::Erase { tenant_id, document_id })) => {
                // The tombstone stands and stays due: the reaper orders the erasure again.
                tracing::error!(tenant = %tenant_id, document = %document_id, "an erasure was given up for now");
                Vec::new()
            }
            Some(Message::Test) | None => {
                tracing::error!(message_id = message.message_id, "unknown_message in the dead-letter queue");
                Vec::new()
            }
        };
        for (tenant, document) in named {
            logs::note("tenant_id", tenant.to_string());
            logs::note("document_id", document.to_string());
            if let Err(error) = self.close(tenant, document).await {
                tracing::error!(error = error.chain(), "a given-up document could not be marked");
            }
        }
        Outcome::Done
    }

    async fn close(&self, tenant: TenantId, document: DocumentId) -> Result<()> {
        let now = SystemClock.now();
        let Some(row) = self.documents.get(tenant, document).await?.filter(|row| is_open(row, now)) else {
            logs::note("outcome", "skipped");
            return Ok(());
        };
        let (code, sentence) = policy::last_cause(&row);
        match self.documents.fail(tenant, document, Guard::Seen(&row), &code, &sentence, now).await {
            Ok(()) => {
                logs::note("outcome", "failed");
                tracing::error!(%tenant, %document, code, attempts = row.attempts, "a document was given up");
                Ok(())
            }
            // A worker has just taken it up.
            Err(error) if error.kind() == Kind::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether nobody else will end it: a worker within its lease does.
fn is_open(row: &Document, now: Timestamp) -> bool {
    match row.status {
        Status::AwaitingUpload | Status::Queued => true,
        status if status.is_working() => row.due_at.is_none_or(|due_at| due_at < now.as_millisecond()),
        _ => false,
    }
}
