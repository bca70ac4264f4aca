//! `ingest-reaper`: every minute, whatever is due. Uploads that never came are failed; documents that wait too long or
//! whose worker went silent are queued again, as often as attempts are left; erasures that hang are ordered again.
//!
//! Every action names the row as it was seen, so two reapers at once, or a worker that comes back, do no harm.

use crate::policy;
use docuchat_aws::{
    documents::{Documents, Guard, UPLOAD_EXPIRED},
    queue::Queue,
};
use docuchat_domain::{
    Clock as _, Kind, Result, SystemClock,
    document::{Document, Status},
    ingestion::Job,
    limits,
};
use docuchat_kit::{Env, RuntimeError, logs};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// Rows per shard of the index and run; the next run takes the rest.
const PER_SHARD: u32 = 100;

/// What one run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Uploads that never came.
    pub expired: u32,
    /// Documents queued again.
    pub requeued: u32,
    /// Documents given up.
    pub failed: u32,
    /// Erasures ordered again.
    pub erased: u32,
    /// Rows that could not be dealt with; they stay due.
    pub errors: u32,
}

/// What a due row needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Expire,
    Requeue,
    Fail,
    Erase,
    /// It moved on between the index and the row.
    Nothing,
}

/// The function.
#[derive(Debug)]
pub struct Reaper {
    documents: Documents,
    queue: Queue,
}

impl Reaper {
    /// From `DOCUMENTS_TABLE` and `INGEST_QUEUE_URL`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = docuchat_aws::config();
        Ok(Self {
            documents: Documents::new(&config, env.required("DOCUMENTS_TABLE")?),
            queue: Queue::new(&config, env.required("INGEST_QUEUE_URL")?),
        })
    }

    /// One run. The schedule's event says nothing of interest.
    pub async fn handle(&self) -> Result<Report> {
        let mut report = Report::default();
        for (tenant, document) in self.documents.due(SystemClock.now(), PER_SHARD).await? {
            let acted = match self.documents.get(tenant, document).await {
                Ok(Some(row)) => self.act(&row).await,
                Ok(None) => Ok(Action::Nothing),
                Err(error) => Err(error),
            };
            match acted {
                Ok(Action::Expire) => report.expired += 1,
                Ok(Action::Requeue) => report.requeued += 1,
                Ok(Action::Fail) => report.failed += 1,
                Ok(Action::Erase) => report.erased += 1,
                Ok(Action::Nothing) => {}
                Err(error) => {
                    tracing::error!(%tenant, %document, error = error.chain(), "a due document was not dealt with");
                    report.errors += 1;
                }
            }
        }
        logs::note("report", serde_json::to_value(report).unwrap_or_default());
        Ok(report)
    }

    async fn act(&self, row: &Document) -> Result<Action> {
        let now = SystemClock.now();
        let (tenant_id, document_id) = (row.tenant_id, row.document_id);
        let seen = Guard::Seen(row);
        let action = decide(row, now);
        let acted = match action {
            Action::Nothing => return Ok(action),
            Action::Expire => {
                let message = "The file was not uploaded in time; start again.";
                self.documents.fail(tenant_id, document_id, seen, UPLOAD_EXPIRED, message, now).await
            }
            Action::Fail => {
                let (code, message) = policy::last_cause(row);
                self.documents.fail(tenant_id, document_id, seen, &code, &message, now).await
            }
            // Row before message: a message that is lost leaves the row due.
            Action::Requeue => {
                let due_at = after(now, limits::QUEUED_SECONDS);
                match self.documents.requeue(tenant_id, document_id, seen, None, due_at, now).await {
                    Ok(()) => self.queue.send(&Job::Ingest { tenant_id, document_id }).await,
                    refused => refused,
                }
            }
            Action::Erase => match self.documents.postpone(row, after(now, limits::ERASE_SECONDS)).await {
                Ok(()) => self.queue.send(&Job::Erase { tenant_id, document_id }).await,
                refused => refused,
            },
        };
        match acted {
            Ok(()) => {
                let (status, attempts) = (row.status.as_str(), row.attempts);
                tracing::warn!(tenant = %tenant_id, document = %document_id, status, attempts, ?action, "due");
                Ok(action)
            }
            Err(error) if error.kind() == Kind::Conflict => Ok(Action::Nothing),
            Err(error) => Err(error),
        }
    }
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now)
}

fn decide(row: &Document, now: Timestamp) -> Action {
    if row.due_at.is_none_or(|due_at| due_at > now.as_millisecond()) {
        return Action::Nothing;
    }
    match row.status {
        Status::AwaitingUpload => Action::Expire,
        Status::Deleting => Action::Erase,
        Status::Queued | Status::Extracting | Status::Embedding | Status::Indexing => {
            if row.attempts >= limits::MAX_INGEST_ATTEMPTS { Action::Fail } else { Action::Requeue }
        }
        Status::Ready | Status::Failed | Status::Deleted => Action::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(status: Status, attempts: u32, due_at: Option<i64>) -> Document {
        Document {
            tenant_id: "d0c0c4a7-0000-4000-8000-000000000001".parse().unwrap(),
            document_id: "0199aaaa-0000-7000-8000-000000000001".parse().unwrap(),
            owner_id: "d0c0c4a7-0000-4000-8000-000000000002".parse().unwrap(),
            collection_id: None,
            title: String::new(),
            file_name: String::new(),
            content_type: String::new(),
            size: 1,
            status,
            percent: 0,
            attempts,
            generation: 1,
            pages: None,
            chunks: None,
            sha256: None,
            error_code: None,
            error_message: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            ready_at: None,
            lease: None,
            due_at,
        }
    }

    #[test]
    fn every_status_has_its_end() {
        let now = Timestamp::from_millisecond(1000).unwrap();
        let action = |status, attempts| decide(&row(status, attempts, Some(1000)), now);
        assert_eq!(action(Status::AwaitingUpload, 0), Action::Expire);
        assert_eq!(action(Status::Queued, 4), Action::Requeue);
        assert_eq!(action(Status::Embedding, 1), Action::Requeue);
        assert_eq!(action(Status::Embedding, 5), Action::Fail);
        assert_eq!(action(Status::Deleting, 9), Action::Erase);
        assert_eq!(action(Status::Ready, 1), Action::Nothing);
        assert_eq!(decide(&row(Status::Queued, 0, Some(1001)), now), Action::Nothing);
        assert_eq!(decide(&row(Status::Queued, 0, None), now), Action::Nothing);
    }

    #[test]
    fn the_cause_of_the_last_attempt_is_kept() {
        let mut failed = row(Status::Queued, 5, Some(0));
        assert_eq!(policy::last_cause(&failed).0, policy::INGEST_FAILED);
        failed.error_code = Some("model_unavailable".to_owned());
        failed.error_message = Some("x".to_owned());
        assert_eq!(policy::last_cause(&failed), ("model_unavailable".to_owned(), "x".to_owned()));
    }
}
