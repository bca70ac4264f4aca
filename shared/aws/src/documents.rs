//! The Documents table: one row per document, keyed by tenant and document.
//!
//! Invariant: every transition is one conditional `UpdateItem`, so that two workers, a reaper and a delete may all run
//! at once and exactly one of them wins. A worker proves its claim by the lease it wrote; everybody else names the row
//! as it was seen ([`Guard::Seen`]).
//!
//! A row that somebody must look at later carries `due_at`, and with `due_shard` it appears in the sparse index `by_due`.

use crate::{
    failure::failure,
    item::{Item, from_item, n, s, to_item},
};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::update_item::{UpdateItemError, UpdateItemOutput},
    types::{AttributeValue, ReturnValue},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use docuchat_domain::{
    DocumentId, Error, Kind, Result, TenantId,
    document::{Document, Status},
};
use jiff::{SignedDuration, Timestamp};
use std::{collections::HashMap, time::Duration};

/// Partitions of the index `by_due`: one would be a hot key, as every row in work passes through it.
const SHARDS: u8 = 8;

/// Rows read per round of a list; DynamoDB filters after it counts, so this is more than a page.
const ROUND: i32 = 200;

/// The code of the [`Kind::Conflict`] that a worker meets when its document is no longer its own: deleted, or taken
/// over after its lease had run out.
pub const LEASE_LOST: &str = "lease_lost";

/// The error code of a row whose upload did not come in time. It alone can still be claimed: the object may have been
/// uploaded in time and its event been late.
pub const UPLOAD_EXPIRED: &str = "upload_expired";

/// The table.
#[derive(Debug, Clone)]
pub struct Documents {
    client: Client,
    table: String,
}

/// What a claim found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is ours under the given lease; `attempts` counts this one.
    Taken(Box<Document>),
    /// Another worker holds it and was alive within its lease.
    Busy,
    /// Nothing to do: it is ready or failed.
    Settled(Status),
    /// It is being erased, or was.
    Deleting,
    /// There is no such row.
    Missing,
}

/// Who may make a transition.
#[derive(Debug, Clone, Copy)]
pub enum Guard<'a> {
    /// The worker with this lease, as long as the document is in a working status.
    Lease(&'a str),
    /// Anybody, as long as the row still is as it was seen: same status, same `due_at`, which every claim and every
    /// heartbeat moves.
    Seen(&'a Document),
}

/// What a worker found out, to be written with its next transition. `None` leaves an attribute as it is.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Size of the object in bytes.
    pub size: Option<u64>,
    /// SHA-256 of the object in lower-case hex.
    pub sha256: Option<String>,
    /// Pages.
    pub pages: Option<u32>,
    /// Chunks.
    pub chunks: Option<u32>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The documents, newest first.
    pub documents: Vec<Document>,
    /// Where the next page begins; `None` on the last one.
    pub cursor: Option<String>,
}

impl Documents {
    /// The table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self { client: Client::new(config), table: table.into() }
    }

    /// Adds a row. The id is new, so an existing row is a defect.
    pub async fn create(&self, document: &Document) -> Result<()> {
        let keys = [
            ("pk", document.tenant_id.to_string()),
            ("sk", document.document_id.to_string()),
            ("due_shard", due_shard(document.document_id)),
        ];
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(document, &keys)?))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await
            .map_err(|e| failure("adding a document", e))?;
        Ok(())
    }

    /// Reads a row as it is now, whatever its status; a deleted one is an empty receipt.
    pub async fn get(&self, tenant: TenantId, document: DocumentId) -> Result<Option<Document>> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", s(tenant.to_string()))
            .key("sk", s(document.to_string()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| failure("reading a document", e))?;
        answer.item.map(from_item).transpose()
    }

    /// A page of at most `limit` documents, newest first, of one status or of all. Receipts of deleted documents are
    /// never listed. A cursor that was not made here is an error with the code `invalid_cursor`.
    pub async fn list(
        &self,
        tenant: TenantId,
        status: Option<Status>,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Page> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let before = cursor.map(decode_cursor).transpose()?;
        let mut values = HashMap::from([
            (":tenant".to_owned(), s(tenant.to_string())),
            (":deleted".to_owned(), s(Status::Deleted.as_str())),
        ]);
        let mut keys = "pk = :tenant";
        if let Some(before) = before {
            keys = "pk = :tenant AND sk < :before";
            values.insert(":before".to_owned(), s(before.to_string()));
        }
        let mut filter = "#status <> :deleted";
        if let Some(status) = status {
            filter = "#status <> :deleted AND #status = :status";
            values.insert(":status".to_owned(), s(status.as_str()));
        }
        let mut documents: Vec<Document> = Vec::new();
        let mut from: Option<Item> = None;
        // One more than asked for tells whether there is a next page, so that none is empty.
        while documents.len() <= limit {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression(keys)
                .filter_expression(filter)
                .expression_attribute_names("#status", "status")
                .set_expression_attribute_values(Some(values.clone()))
                .scan_index_forward(false)
                .limit(ROUND)
                .set_exclusive_start_key(from.take())
                .send()
                .await
                .map_err(|e| failure("listing documents", e))?;
            for item in answer.items.unwrap_or_default() {
                documents.push(from_item(item)?);
            }
            from = answer.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        let more = documents.len() > limit;
        documents.truncate(limit);
        let cursor = documents.last().filter(|_| more).map(|last| encode_cursor(last.document_id));
        Ok(Page { documents, cursor })
    }

    /// Takes a document up under a new lease, if it waits or if the worker before fell silent. Counts the attempt.
    pub async fn claim(
        &self,
        tenant: TenantId,
        document: DocumentId,
        lease: &str,
        lease_time: Duration,
        now: Timestamp,
    ) -> Result<Claim> {
        let claimed = Change::to(Status::Extracting, now)
            .set("lease", s(lease))
            .set("due_at", n(later(now, lease_time)))
            .raw_set("attempts = attempts + :one", &[(":one", n(1))])
            .when(
                "attribute_exists(pk) AND (#status IN (:awaiting, :queued) \
                 OR (#status IN (:extracting, :embedding, :indexing) AND due_at < :now) \
                 OR (#status = :failed AND error_code = :expired))",
            )
            .value(":awaiting", s(Status::AwaitingUpload.as_str()))
            .value(":queued", s(Status::Queued.as_str()))
            .working()
            .value(":now", n(now.as_millisecond()))
            .value(":failed", s(Status::Failed.as_str()))
            .value(":expired", s(UPLOAD_EXPIRED))
            .send(self, tenant, document)
            .await;
        match claimed {
            Ok(output) => {
                let item = output
                    .attributes
                    .ok_or_else(|| Error::internal("claiming a document", "no attributes"))?;
                Ok(Claim::Taken(Box::new(from_item(item)?)))
            }
            // The reason is read afterwards: it only decides what is logged, never who works.
            Err(error) if is_refused(&error) => {
                Ok(match self.get(tenant, document).await?.map(|row| row.status) {
                    None => Claim::Missing,
                    Some(Status::Deleting | Status::Deleted) => Claim::Deleting,
                    Some(status @ (Status::Ready | Status::Failed)) => Claim::Settled(status),
                    Some(_) => Claim::Busy,
                })
            }
            Err(error) => Err(failure("claiming a document", error)),
        }
    }

    /// Says that the worker is alive. [`LEASE_LOST`] when the document is no longer its own.
    pub async fn heartbeat(
        &self,
        tenant: TenantId,
        document: DocumentId,
        lease: &str,
        lease_time: Duration,
        now: Timestamp,
    ) -> Result<()> {
        Change::new()
            .set("due_at", n(later(now, lease_time)))
            .guarded(Guard::Lease(lease))
            .made(self, tenant, document)
            .await
    }

    /// Moves on within the working statuses. Also a heartbeat. [`LEASE_LOST`] when the document is no longer the
    /// worker's own.
    #[expect(clippy::too_many_arguments, reason = "all of it is one transition")]
    pub async fn advance(
        &self,
        tenant: TenantId,
        document: DocumentId,
        lease: &str,
        lease_time: Duration,
        status: Status,
        percent: u8,
        findings: Findings,
        now: Timestamp,
    ) -> Result<()> {
        Change::to(status, now)
            .set("percent", n(percent))
            .set("due_at", n(later(now, lease_time)))
            .found(findings)
            .guarded(Guard::Lease(lease))
            .made(self, tenant, document)
            .await
    }

    /// The document is searchable.
    pub async fn finish(
        &self,
        tenant: TenantId,
        document: DocumentId,
        lease: &str,
        findings: Findings,
        now: Timestamp,
    ) -> Result<()> {
        Change::to(Status::Ready, now)
            .set("ready_at", s(now.to_string()))
            .found(findings)
            .remove(&["lease", "due_at", "error_code", "error_message"])
            .guarded(Guard::Lease(lease))
            .made(self, tenant, document)
            .await
    }

    /// The document ends without success.
    pub async fn fail(
        &self,
        tenant: TenantId,
        document: DocumentId,
        guard: Guard<'_>,
        code: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<()> {
        Change::to(Status::Failed, now)
            .set("error_code", s(code))
            .set("error_message", s(message))
            .remove(&["lease", "due_at"])
            .guarded(guard)
            .made(self, tenant, document)
            .await
    }

    /// The document waits for another attempt, until `due_at` at the latest; `cause` is a code and a sentence.
    pub async fn requeue(
        &self,
        tenant: TenantId,
        document: DocumentId,
        guard: Guard<'_>,
        cause: Option<(&str, &str)>,
        due_at: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        let mut change =
            Change::to(Status::Queued, now).set("due_at", n(due_at.as_millisecond())).remove(&["lease"]);
        if let Some((code, message)) = cause {
            change = change.set("error_code", s(code)).set("error_message", s(message));
        }
        change.guarded(guard).made(self, tenant, document).await
    }

    /// Sets the tombstone, whoever works on the document. `false` when it stands already (or the row is gone).
    pub async fn mark_deleting(
        &self,
        tenant: TenantId,
        document: DocumentId,
        due_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        let marked = Change::to(Status::Deleting, now)
            .set("due_at", n(due_at.as_millisecond()))
            .remove(&["lease"])
            .when("attribute_exists(pk) AND NOT #status IN (:deleting, :deleted)")
            .value(":deleting", s(Status::Deleting.as_str()))
            .value(":deleted", s(Status::Deleted.as_str()))
            .made(self, tenant, document)
            .await;
        match marked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Kind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends a deletion: the row stays as a receipt of who, what size and when, without any content.
    pub async fn mark_deleted(&self, tenant: TenantId, document: DocumentId, now: Timestamp) -> Result<()> {
        Change::to(Status::Deleted, now)
            // Emptied, not removed: the row keeps its shape.
            .set("title", s(""))
            .set("file_name", s(""))
            .set("content_type", s(""))
            .remove(&[
                "lease",
                "due_at",
                "sha256",
                "pages",
                "chunks",
                "error_code",
                "error_message",
                "collection_id",
            ])
            .when("#status = :deleting")
            .value(":deleting", s(Status::Deleting.as_str()))
            .made(self, tenant, document)
            .await
    }

    /// Moves `due_at` of a row, if it still is as it was seen.
    pub async fn postpone(&self, seen: &Document, due_at: Timestamp) -> Result<()> {
        Change::new()
            .set("due_at", n(due_at.as_millisecond()))
            .guarded(Guard::Seen(seen))
            .made(self, seen.tenant_id, seen.document_id)
            .await
    }

    /// The rows that are due, the longest waiting first within each of the index's shards, at most `per_shard` of each.
    /// This one call is not of one tenant: it is the reaper's sweep over all of them.
    pub async fn due(&self, now: Timestamp, per_shard: u32) -> Result<Vec<(TenantId, DocumentId)>> {
        let mut due = Vec::new();
        for shard in 0..SHARDS {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .index_name("by_due")
                .key_condition_expression("due_shard = :shard AND due_at <= :now")
                .expression_attribute_values(":shard", s(shard.to_string()))
                .expression_attribute_values(":now", n(now.as_millisecond()))
                .limit(i32::try_from(per_shard).unwrap_or(i32::MAX))
                .send()
                .await
                .map_err(|e| failure("looking for due documents", e))?;
            for item in answer.items.unwrap_or_default() {
                let part = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
                let ids =
                    part("pk").and_then(|pk| pk.parse().ok()).zip(part("sk").and_then(|sk| sk.parse().ok()));
                due.push(
                    ids.ok_or_else(|| Error::internal("looking for due documents", "a key is not a UUID"))?,
                );
            }
        }
        Ok(due)
    }
}

/// An `UpdateItem` in the making.
#[derive(Debug, Default)]
struct Change {
    sets: Vec<String>,
    removes: Vec<&'static str>,
    condition: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Change {
    /// A change that no client sees.
    fn new() -> Self {
        Self::default()
    }

    /// A transition, with the percentage on entering the status.
    fn to(status: Status, now: Timestamp) -> Self {
        Self::new()
            .set("status", s(status.as_str()))
            .set("percent", n(status.percent()))
            .set("updated_at", s(now.to_string()))
    }

    fn set(mut self, name: &str, value: AttributeValue) -> Self {
        let assignment = format!("#{name} = :set_{name}");
        // A second value replaces the first.
        if !self.sets.contains(&assignment) {
            self.sets.push(assignment);
        }
        self.names.insert(format!("#{name}"), name.to_owned());
        self.values.insert(format!(":set_{name}"), value);
        self
    }

    fn raw_set(mut self, assignment: &str, values: &[(&str, AttributeValue)]) -> Self {
        self.sets.push(assignment.to_owned());
        self.values.extend(values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self
    }

    fn remove(mut self, names: &[&'static str]) -> Self {
        self.removes.extend(names);
        self
    }

    fn found(self, findings: Findings) -> Self {
        let Findings { size, sha256, pages, chunks } = findings;
        let numbers = [("size", size), ("pages", pages.map(u64::from)), ("chunks", chunks.map(u64::from))];
        let change = numbers
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)))
            .fold(self, |change, (name, value)| change.set(name, n(value)));
        match sha256 {
            Some(sha256) => change.set("sha256", s(sha256)),
            None => change,
        }
    }

    fn when(mut self, condition: &str) -> Self {
        condition.clone_into(&mut self.condition);
        self.names.insert("#status".to_owned(), "status".to_owned());
        self
    }

    fn value(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.insert(name.to_owned(), value);
        self
    }

    fn working(self) -> Self {
        self.value(":extracting", s(Status::Extracting.as_str()))
            .value(":embedding", s(Status::Embedding.as_str()))
            .value(":indexing", s(Status::Indexing.as_str()))
    }

    fn guarded(self, guard: Guard<'_>) -> Self {
        match guard {
            Guard::Lease(lease) => self
                .when("lease = :guard_lease AND #status IN (:extracting, :embedding, :indexing)")
                .value(":guard_lease", s(lease))
                .working(),
            Guard::Seen(seen) => {
                let change = match seen.due_at {
                    Some(due_at) => self
                        .when("#status = :guard_status AND due_at = :guard_due_at")
                        .value(":guard_due_at", n(due_at)),
                    None => self.when("#status = :guard_status AND attribute_not_exists(due_at)"),
                };
                change.value(":guard_status", s(seen.status.as_str()))
            }
        }
    }

    fn expression(&self) -> String {
        let mut expression = format!("SET {}", self.sets.join(", "));
        if !self.removes.is_empty() {
            expression.push_str(" REMOVE ");
            expression.push_str(&self.removes.join(", "));
        }
        expression
    }

    async fn send(
        self,
        table: &Documents,
        tenant: TenantId,
        document: DocumentId,
    ) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
        table
            .client
            .update_item()
            .table_name(&table.table)
            .key("pk", s(tenant.to_string()))
            .key("sk", s(document.to_string()))
            .update_expression(self.expression())
            .condition_expression(self.condition)
            .set_expression_attribute_names(Some(self.names))
            .set_expression_attribute_values(Some(self.values))
            .return_values(ReturnValue::AllNew)
            .send()
            .await
    }

    async fn made(self, table: &Documents, tenant: TenantId, document: DocumentId) -> Result<()> {
        match self.send(table, tenant, document).await {
            Ok(_) => Ok(()),
            Err(error) if is_refused(&error) => {
                Err(Error::new(Kind::Conflict, LEASE_LOST, "The document has changed meanwhile."))
            }
            Err(error) => Err(failure("changing a document", error)),
        }
    }
}

fn is_refused(error: &SdkError<UpdateItemError>) -> bool {
    error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}

/// `now` plus a duration, in milliseconds since 1970.
fn later(now: Timestamp, by: Duration) -> i64 {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.saturating_add(by).unwrap_or(Timestamp::MAX).as_millisecond()
}

fn due_shard(document: DocumentId) -> String {
    // The last byte of a version 7 UUID is random; the first ones are the time.
    let last = document.uuid().as_bytes().last().copied().unwrap_or_default();
    (last % SHARDS).to_string()
}

fn encode_cursor(last: DocumentId) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(last.to_string())
}

fn decode_cursor(cursor: &str) -> Result<DocumentId> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Error::invalid("invalid_cursor", "The cursor is not one that this route gave.").with_path("cursor")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Document {
            tenant_id: "d0c0c4a7-0000-4000-8000-000000000001".parse().unwrap(),
            document_id: "0199aaaa-0000-7000-8000-00000000000d".parse().unwrap(),
            owner_id: "d0c0c4a7-0000-4000-8000-000000000002".parse().unwrap(),
            collection_id: None,
            title: "گزارش".to_owned(),
            file_name: "گزارش.pdf".to_owned(),
            content_type: "application/pdf".to_owned(),
            size: 26_214_400,
            status: Status::AwaitingUpload,
            percent: 0,
            attempts: 0,
            generation: 1,
            pages: None,
            chunks: None,
            sha256: None,
            error_code: None,
            error_message: None,
            created_at: now,
            updated_at: now,
            ready_at: None,
            lease: None,
            due_at: Some(1_767_225_600_000),
        }
    }

    #[test]
    fn rows_round_trip_with_their_keys() {
        let document = document();
        let item = to_item(&document, &[("pk", "p".to_owned()), ("sk", "s".to_owned())]).unwrap();
        assert_eq!(item["pk"], s("p"));
        assert_eq!(item["tenant_id"], s("d0c0c4a7-0000-4000-8000-000000000001"));
        assert_eq!(item["due_at"], n(1_767_225_600_000_i64));
        assert_eq!(item["status"], s("awaiting_upload"));
        assert!(!item.contains_key("lease"));
        assert_eq!(from_item::<Document>(item).unwrap(), document);
    }

    #[test]
    fn cursors_round_trip_and_others_are_refused() {
        let id = document().document_id;
        assert_eq!(decode_cursor(&encode_cursor(id)).unwrap(), id);
        for bad in ["", "x", "%%%", "MDE5OWFhYWE"] {
            assert_eq!(decode_cursor(bad).unwrap_err().code(), "invalid_cursor", "{bad}");
        }
    }

    #[test]
    fn documents_spread_over_the_shards() {
        assert_eq!(due_shard(document().document_id), "5");
    }

    #[test]
    fn a_change_uses_every_value_that_it_binds() {
        let now = document().created_at;
        let seen = document();
        let changes = [
            Change::to(Status::Indexing, now)
                .set("percent", n(91))
                .found(Findings { pages: Some(3), sha256: Some("ab".to_owned()), ..Findings::default() })
                .guarded(Guard::Lease("l")),
            Change::to(Status::Failed, now).remove(&["lease", "due_at"]).guarded(Guard::Seen(&seen)),
            Change::new()
                .set("due_at", n(1))
                .guarded(Guard::Seen(&Document { due_at: None, ..seen.clone() })),
        ];
        // DynamoDB refuses an expression with a value or name that is bound and not used.
        for change in changes {
            let text = format!("{} {}", change.expression(), change.condition);
            let words: Vec<&str> =
                text.split(|c: char| !(c.is_ascii_alphanumeric() || "#:_".contains(c))).collect();
            for name in change.names.keys().chain(change.values.keys()) {
                assert!(words.contains(&name.as_str()), "{name} in {text}");
            }
            assert_eq!(
                text.matches("#percent =").count(),
                usize::from(change.names.contains_key("#percent")),
                "{text}"
            );
        }
    }
}
