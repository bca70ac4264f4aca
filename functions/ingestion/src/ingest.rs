//! `ingest`: a message from the queue is an event of the bucket or a job of ours; each ends done or comes again.

use crate::{
    message::{self, Message},
    policy,
    progress::Progress,
    steps::Stop,
};
use aws_lambda_events::sqs::SqsMessage;
use docuchat_aws::{
    documents::{Claim, Documents, Guard},
    functions::Functions,
    objects::Objects,
    queue::Queue,
};
use docuchat_domain::{
    Clock as _, DocumentId, Entropy as _, Error, Kind, Result, SystemClock, SystemEntropy, TenantId,
    document::{Document, Status, keys},
    ingestion::Job,
    limits,
};
use docuchat_kit::{Env, RuntimeError, batch::Outcome, invoke::Invocation, logs};
use docuchat_models::Embedder;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// The longest that `index-write` and `index-erase` run, and a little.
const INDEX_CALL: Duration = Duration::from_secs(125);

/// Kept free at the end of an invocation to put a document back into the queue.
const CLOSING: Duration = Duration::from_secs(15);

/// The function.
#[derive(Debug)]
pub struct Ingest {
    pub(crate) documents: Documents,
    pub(crate) objects: Objects,
    pub(crate) functions: Functions,
    pub(crate) embedder: Embedder,
    pub(crate) progress: Progress,
    pub(crate) index_write: String,
    pub(crate) index_erase: String,
    pub(crate) lease_time: Duration,
    queue: Queue,
}

/// A document that this worker holds.
pub(crate) struct Work<'a> {
    /// The row as it was claimed.
    pub(crate) document: &'a Document,
    /// The proof of the claim.
    pub(crate) lease: &'a str,
    /// The time that is left.
    pub(crate) invocation: &'a Invocation,
}

impl Ingest {
    /// From `DOCUMENTS_TABLE`, `BUCKET`, `INGEST_QUEUE_URL`, `INDEX_WRITE_FUNCTION`, `INDEX_ERASE_FUNCTION`,
    /// `INGEST_LEASE_SECONDS`, and the settings of [`Progress`] and [`Embedder`].
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = docuchat_aws::config();
        let long = docuchat_aws::config::config_for_long_calls(INDEX_CALL);
        Ok(Self {
            documents: Documents::new(&config, env.required("DOCUMENTS_TABLE")?),
            objects: Objects::new(&config, env.required("BUCKET")?),
            functions: Functions::new(&long),
            embedder: Embedder::from_env(env)?,
            progress: Progress::from_env(env, &config)?,
            index_write: env.required("INDEX_WRITE_FUNCTION")?,
            index_erase: env.required("INDEX_ERASE_FUNCTION")?,
            lease_time: lease_time(env)?,
            queue: Queue::new(&config, env.required("INGEST_QUEUE_URL")?),
        })
    }

    /// Lets a message come again after this time.
    pub async fn postpone(&self, receipt_handle: String, by: Duration) -> Result<()> {
        self.queue.postpone(&receipt_handle, by).await
    }

    /// Works on one message.
    pub async fn handle(&self, message: SqsMessage, invocation: Invocation) -> Outcome {
        let received = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
        let received: u32 = received.unwrap_or(1);
        logs::note("received", received);
        let retry = |error: Error| Outcome::Retry {
            after: Some(policy::pause(received, &error, &SystemEntropy)),
            error,
        };
        match message::parse(message.body.as_deref().unwrap_or_default()) {
            None => {
                tracing::error!(
                    message_id = message.message_id,
                    "unknown_message: neither an event nor a job"
                );
                Outcome::Done
            }
            Some(Message::Test) => Outcome::Done,
            Some(Message::Job(Job::Ingest { tenant_id, document_id })) => {
                Box::pin(self.take_in(tenant_id, document_id, &invocation)).await.unwrap_or_else(retry)
            }
            Some(Message::Job(Job::Erase { tenant_id, document_id })) => {
                note_document(tenant_id, document_id);
                Box::pin(self.erase(tenant_id, document_id)).await.map_or_else(retry, |()| Outcome::Done)
            }
            Some(Message::Objects(object_keys)) => {
                // One message holds one record in practice, though the format allows more: all of them are worked on,
                // and the message comes again if one of them must.
                let mut outcome = Outcome::Done;
                for key in object_keys {
                    match Box::pin(self.take_object_in(&key, &invocation)).await.unwrap_or_else(retry) {
                        Outcome::Done => {}
                        again @ Outcome::Retry { .. } => outcome = again,
                    }
                }
                outcome
            }
        }
    }

    /// An object was put: only the one that its row announced is taken in.
    async fn take_object_in(&self, key: &str, invocation: &Invocation) -> Result<Outcome> {
        let orphan = |reason: &'static str| {
            // The key may hold a file name, so the log gets its ids only.
            let named = keys::parse_upload(key)
                .map(|(tenant, document, _)| (tenant.to_string(), document.to_string()));
            let (tenant, document) = named.unwrap_or_default();
            tracing::warn!(tenant, document, reason, "orphan_object");
            Ok(Outcome::Done)
        };
        let Some((tenant, document, _)) = keys::parse_upload(key) else {
            return orphan("not the key of an upload");
        };
        match self.documents.get(tenant, document).await? {
            None => orphan("there is no row"),
            Some(row) if matches!(row.status, Status::Deleting | Status::Deleted) => {
                // The form outlives the document: what was uploaded with it later must not stay.
                self.objects.delete(key).await?;
                tracing::info!(%tenant, %document, "removed an object of a deleted document");
                Ok(Outcome::Done)
            }
            Some(row) if row.upload_key() != key => orphan("the row announced another name"),
            Some(_) => Box::pin(self.take_in(tenant, document, invocation)).await,
        }
    }

    /// Claims a document, works on it while its heartbeat runs, and closes it.
    async fn take_in(&self, tenant: TenantId, id: DocumentId, invocation: &Invocation) -> Result<Outcome> {
        note_document(tenant, id);
        let lease = new_lease();
        let document =
            match self.documents.claim(tenant, id, &lease, self.lease_time, SystemClock.now()).await? {
                Claim::Taken(document) => document,
                Claim::Missing => {
                    tracing::warn!(%tenant, document = %id, reason = "there is no row", "orphan_object");
                    return Ok(Outcome::Done);
                }
                // Somebody works on it. If that worker dies, the reaper sees its silence and queues the document again,
                // so this message is not needed.
                Claim::Busy => return Ok(skip("busy")),
                Claim::Settled(status) => return Ok(skip(status.as_str())),
                Claim::Deleting => return Ok(skip("deleting")),
            };
        logs::note("attempt", document.attempts);
        let work = Work { document: &document, lease: &lease, invocation };
        if document.attempts > limits::MAX_INGEST_ATTEMPTS {
            let (code, message) = policy::last_cause(&document);
            return Ok(self.fail(&work, &code, &message).await);
        }
        let end = tokio::select! {
            end = tokio::time::timeout(invocation.remaining(CLOSING), Box::pin(self.work(&work))) => {
                end.unwrap_or_else(|_| Err(Stop::out_of_time()))
            }
            () = Box::pin(self.keep_alive(&work)) => Err(Stop::Lost("the lease is lost")),
        };
        Ok(Box::pin(self.close(&work, end)).await)
    }

    /// Beats until the lease is lost.
    async fn keep_alive(&self, work: &Work<'_>) {
        let Document { tenant_id, document_id, .. } = work.document;
        loop {
            tokio::time::sleep(self.lease_time / 3).await;
            let beat = self.documents.heartbeat(
                *tenant_id,
                *document_id,
                work.lease,
                self.lease_time,
                SystemClock.now(),
            );
            match beat.await {
                Ok(()) => {}
                Err(error) if error.kind() == Kind::Conflict => return,
                // Two more beats fit into the lease.
                Err(error) => tracing::warn!(error = error.chain(), "a heartbeat was missed"),
            }
        }
    }

    /// Writes down how the work ended.
    async fn close(&self, work: &Work<'_>, end: Result<(), Stop>) -> Outcome {
        let document = work.document;
        match end {
            Ok(()) => {
                logs::note("outcome", "ready");
                Outcome::Done
            }
            Err(Stop::Never { code, message, cause }) => {
                tracing::info!(code, cause, "the document cannot be taken in");
                self.fail(work, code, &message).await
            }
            Err(Stop::Later { code, message, error }) if document.attempts >= limits::MAX_INGEST_ATTEMPTS => {
                tracing::warn!(
                    code,
                    error = error.chain(),
                    attempts = document.attempts,
                    "the document is given up"
                );
                self.fail(work, code, message).await
            }
            Err(Stop::Later { code, message, error }) => {
                logs::note("outcome", "retry");
                logs::note("error_code", code);
                let after = policy::pause(document.attempts, &error, &SystemEntropy);
                let now = SystemClock.now();
                let due_at =
                    later(now, after).saturating_add(SignedDuration::from_secs(limits::QUEUED_SECONDS));
                let queued = self.documents.requeue(
                    document.tenant_id,
                    document.document_id,
                    Guard::Lease(work.lease),
                    Some((code, message)),
                    due_at.unwrap_or(now),
                    now,
                );
                match queued.await {
                    Ok(()) => {
                        self.progress.tell(document, Status::Queued, Status::Queued.percent(), None).await;
                    }
                    Err(lost) if lost.kind() == Kind::Conflict => return skip("the lease is lost"),
                    // Then the row still counts as being worked on: a delivery within the lease would find it busy
                    // and be lost, and the reaper takes over.
                    Err(error) => tracing::warn!(error = error.chain(), "the row could not be put back"),
                }
                Outcome::Retry { after: Some(after), error: *error }
            }
            Err(Stop::Lost(reason)) => {
                self.sweep(document).await;
                skip(reason)
            }
        }
    }

    async fn fail(&self, work: &Work<'_>, code: &str, message: &str) -> Outcome {
        logs::note("outcome", "failed");
        logs::note("error_code", code);
        let (tenant, id, now) = (work.document.tenant_id, work.document.document_id, SystemClock.now());
        match self.documents.fail(tenant, id, Guard::Lease(work.lease), code, message, now).await {
            Ok(()) => {
                self.progress.tell(work.document, Status::Failed, 0, Some(code)).await;
                Outcome::Done
            }
            Err(error) if error.kind() == Kind::Conflict => skip("the lease is lost"),
            // Once the lease has run out, the next delivery can claim the row and comes to the same end.
            Err(error) => Outcome::Retry { after: Some(self.lease_time + Duration::from_secs(5)), error },
        }
    }

    /// A document that was deleted while this worker was about to store its artifact: what came too late for the
    /// erasure must not stay. Another worker's artifact is left alone.
    async fn sweep(&self, document: &Document) {
        let (tenant, id) = (document.tenant_id, document.document_id);
        let swept = async {
            let status = self.documents.get(tenant, id).await?.map(|row| row.status);
            if matches!(status, None | Some(Status::Deleting | Status::Deleted)) {
                self.objects.delete_prefix(&keys::derived_prefix(tenant, id)).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = swept.await {
            tracing::error!(error = error.chain(), "an artifact of a deleted document may be left");
        }
    }
}

/// `INGEST_LEASE_SECONDS`, 60 when not set, at least 3.
pub(crate) fn lease_time(env: &Env) -> Result<Duration, docuchat_kit::env::SettingError> {
    let seconds: u64 = env.parsed("INGEST_LEASE_SECONDS", 60, "a number of seconds")?;
    Ok(Duration::from_secs(seconds.max(3)))
}

pub(crate) fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

fn note_document(tenant: TenantId, document: DocumentId) {
    logs::note("tenant_id", tenant.to_string());
    logs::note("document_id", document.to_string());
}

fn skip(reason: &str) -> Outcome {
    logs::note("outcome", "skipped");
    logs::note("reason", reason);
    Outcome::Done
}

/// 128 random bits: two workers never choose the same.
fn new_lease() -> String {
    let mut random = [0; 16];
    SystemEntropy.fill(&mut random);
    format!("{:032x}", u128::from_le_bytes(random))
}
