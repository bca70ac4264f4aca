//! Sessions and answers.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `{tenant}#user#{user}` | `session#{session}` | a [`Session`] |
//! | `{tenant}#user#{user}` | `message#{client message id}` | which answer that message got, for a week |
//! | `{tenant}#session#{session}` | `answer#{answer}` | an [`Answer`] |
//! | `{tenant}#answer#{answer}` | `answer` | the answer's session and owner |
//!
//! Ids are version 7 UUIDs, so keys sort by time. Messages are keyed by the person and not by the session: the first
//! message of a conversation, sent again, must not begin a second conversation.

use crate::{
    failure::failure,
    item::{Item, from_item, n, s, to_item},
    transaction::{self, Outcome},
};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::update_item::{UpdateItemError, builders::UpdateItemFluentBuilder},
    types::{AttributeValue, ReturnValue, TransactWriteItem, Update},
};
use docuchat_domain::{
    AnswerId, Error, Result, SessionId, TenantId, UserId,
    chat::{Answer, AnswerStatus, Citation, Session, title_from},
    usage::Usage,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// How long a repeated client message id is recognised, in seconds: a week.
const MESSAGE_SECONDS: i64 = 7 * 24 * 3600;

/// After how long without a save a second worker may take an answer over. A living worker saves every second.
const SILENT: SignedDuration = SignedDuration::from_secs(20);

/// The table of sessions and answers.
#[derive(Debug, Clone)]
pub struct ChatStore {
    client: Client,
    table: String,
}

/// A question to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub user_id: UserId,
    /// The conversation.
    pub session: Conversation,
    /// The id of the answer to come.
    pub answer_id: AnswerId,
    /// What is asked.
    pub text: String,
    /// The client's own id of the message.
    pub client_message_id: Option<String>,
    /// The connection that wants to hear the answer.
    pub connection_id: Option<String>,
    /// The model that shall answer.
    pub model: String,
    /// The present.
    pub now: Timestamp,
}

/// The conversation that a question belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversation {
    /// It begins one.
    New(SessionId),
    /// It continues one.
    Known(SessionId),
}

impl Conversation {
    /// Its id.
    #[must_use]
    pub const fn id(self) -> SessionId {
        match self {
            Self::New(id) | Self::Known(id) => id,
        }
    }
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Acceptance {
    /// Its answer is pending.
    Accepted,
    /// The same client message id was accepted before: this is the answer it got.
    Duplicate(Box<Answer>),
    /// The person has no such conversation.
    SessionNotFound,
}

/// What a worker found.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// The answer is this worker's; `attempt` counts it.
    Taken(Box<Answer>),
    /// Another worker died in the middle of it. The text it had sent stands; there is nothing to go on from.
    Abandoned(Box<Answer>),
    /// Another worker is at it, or it is done.
    Settled,
    /// There is no such answer.
    Missing,
}

/// The end of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// [`AnswerStatus::Complete`] or [`AnswerStatus::Failed`].
    pub status: AnswerStatus,
    /// The text.
    pub text: String,
    /// Whether it is a refusal.
    pub refused: bool,
    /// What it cites.
    pub citations: Vec<Citation>,
    /// What it used.
    pub usage: Usage,
    /// The model that wrote it; empty when none was called.
    pub model: String,
    /// Why it failed, as a stable code.
    pub error_code: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// Which answer a client's message got.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    session_id: SessionId,
    answer_id: AnswerId,
    ttl: i64,
}

/// Where an answer lies and whose it is.
#[derive(Debug, Serialize, Deserialize)]
struct Pointer {
    session_id: SessionId,
    user_id: UserId,
}

impl ChatStore {
    /// A store on this table (`CHAT_TABLE`).
    #[must_use]
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self { client: Client::new(config), table: table.into() }
    }

    /// Accepts a question in one transaction: the session is made or moved forward, and the pending answer, its
    /// pointer and the client's message id are written, or nothing is.
    pub async fn accept(&self, tenant: TenantId, question: &Question) -> Result<Acceptance> {
        let Question { user_id, session, answer_id, now, .. } = *question;
        let answer = Answer {
            tenant_id: tenant,
            user_id,
            session_id: session.id(),
            answer_id,
            question: question.text.clone(),
            text: String::new(),
            status: AnswerStatus::Pending,
            refused: false,
            citations: Vec::new(),
            model: question.model.clone(),
            usage: Usage::default(),
            error_code: None,
            attempt: 0,
            connection_id: question.connection_id.clone(),
            created_at: now,
            updated_at: now,
        };
        let pointer = Pointer { session_id: session.id(), user_id };
        let absent = "attribute_not_exists(pk)";
        let mut items = vec![
            self.session_write(tenant, question)?,
            transaction::put(
                &self.table,
                to_item(&answer, &answer_key(tenant, session.id(), answer_id))?,
                absent,
            )?,
            transaction::put(&self.table, to_item(&pointer, &pointer_key(tenant, answer_id))?, absent)?,
        ];
        if let Some(id) = &question.client_message_id {
            let message =
                Message { session_id: session.id(), answer_id, ttl: now.as_second() + MESSAGE_SECONDS };
            let item = to_item(&message, &message_key(tenant, user_id, id))?;
            items.push(transaction::put(&self.table, item, absent)?);
        }
        match transaction::write(&self.client, "accepting a question", items).await? {
            Outcome::Committed => Ok(Acceptance::Accepted),
            Outcome::Refused => self.refusal(tenant, question).await,
        }
    }

    fn session_write(&self, tenant: TenantId, question: &Question) -> Result<TransactWriteItem> {
        let now = question.now;
        match question.session {
            Conversation::New(session_id) => {
                let session = Session {
                    tenant_id: tenant,
                    user_id: question.user_id,
                    session_id,
                    title: title_from(&question.text),
                    created_at: now,
                    updated_at: now,
                    answers: 1,
                };
                let item = to_item(&session, &session_key(tenant, question.user_id, session_id))?;
                transaction::put(&self.table, item, "attribute_not_exists(pk)")
            }
            Conversation::Known(session_id) => {
                let update = Update::builder()
                    .table_name(&self.table)
                    .set_key(Some(key(&session_key(tenant, question.user_id, session_id))))
                    .update_expression("SET updated_at = :now ADD answers :one")
                    .condition_expression("attribute_exists(pk)")
                    .expression_attribute_values(":now", s(now.to_string()))
                    .expression_attribute_values(":one", n(1))
                    .build()
                    .map_err(transaction::incomplete)?;
                Ok(TransactWriteItem::builder().update(update).build())
            }
        }
    }

    /// Why a question was not accepted.
    async fn refusal(&self, tenant: TenantId, question: &Question) -> Result<Acceptance> {
        if let Some(id) = &question.client_message_id
            && let Some(message) = self
                .get::<Message>(&message_key(tenant, question.user_id, id), "reading a message id")
                .await?
        {
            let answer = self.row(tenant, message.session_id, message.answer_id).await?;
            return match answer {
                Some(answer) => Ok(Acceptance::Duplicate(Box::new(answer))),
                None => Err(Error::internal("accepting a question", "a message id without its answer")),
            };
        }
        match question.session {
            Conversation::Known(id) if self.session(tenant, question.user_id, id).await?.is_none() => {
                Ok(Acceptance::SessionNotFound)
            }
            _ => Err(Error::unavailable("accepting a question", "refused without a reason that lasts")),
        }
    }

    /// Takes an answer up. A pending one is taken; so is one whose worker fell silent before it had any text. One that
    /// fell silent in mid-text is handed over as abandoned.
    pub async fn claim(
        &self,
        tenant: TenantId,
        session: SessionId,
        answer: AnswerId,
        now: Timestamp,
    ) -> Result<Claim> {
        let keys = answer_key(tenant, session, answer);
        // The usual case in one call.
        if let Some(row) = self.take(&keys, AnswerStatus::Pending, 0, now).await? {
            return Ok(Claim::Taken(Box::new(row)));
        }
        let Some(row) = self.row(tenant, session, answer).await? else { return Ok(Claim::Missing) };
        let silent_since = now.checked_sub(SILENT).unwrap_or(Timestamp::UNIX_EPOCH);
        if row.status != AnswerStatus::Running || row.updated_at >= silent_since {
            return Ok(Claim::Settled);
        }
        if !row.text.is_empty() {
            return Ok(Claim::Abandoned(Box::new(row)));
        }
        let taken = self.take(&keys, row.status, row.attempt, now).await?;
        Ok(taken.map_or(Claim::Settled, |row| Claim::Taken(Box::new(row))))
    }

    /// Takes an answer as it was seen: whoever comes second finds another attempt and is refused.
    async fn take(
        &self,
        keys: &Keys,
        seen: AnswerStatus,
        attempt: u32,
        now: Timestamp,
    ) -> Result<Option<Answer>> {
        let update = self
            .update(keys)
            .update_expression("SET #status = :running, attempt = :next, updated_at = :now")
            .condition_expression("#status = :seen AND attempt = :attempt")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":running", status(AnswerStatus::Running))
            .expression_attribute_values(":seen", status(seen))
            .expression_attribute_values(":attempt", n(attempt))
            .expression_attribute_values(":next", n(attempt + 1))
            .expression_attribute_values(":now", s(now.to_string()));
        changed(update, "taking up an answer").await
    }

    /// Saves a running answer and returns its row, in which others may have left a message. `None` if it is no longer
    /// this attempt's to write.
    pub async fn save(
        &self,
        answer: &Answer,
        text: &str,
        usage: &Usage,
        now: Timestamp,
    ) -> Result<Option<Answer>> {
        let update = self
            .update(&answer_key(answer.tenant_id, answer.session_id, answer.answer_id))
            .update_expression("SET #text = :text, #usage = :usage, updated_at = :now")
            .condition_expression("#status = :running AND attempt = :attempt")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#text", "text")
            .expression_attribute_names("#usage", "usage")
            .expression_attribute_values(":running", status(AnswerStatus::Running))
            .expression_attribute_values(":attempt", n(answer.attempt))
            .expression_attribute_values(":text", s(text))
            .expression_attribute_values(":usage", value(usage)?)
            .expression_attribute_values(":now", s(now.to_string()));
        changed(update, "saving an answer").await
    }

    /// Ends an answer that is still open and at this attempt. False if it was ended before.
    pub async fn finish(&self, answer: &Answer, end: &Finished, now: Timestamp) -> Result<bool> {
        let mut expression =
            "SET #status = :status, #text = :text, refused = :refused, citations = :citations, \
             #usage = :usage, model = :model, updated_at = :now"
                .to_owned();
        let mut update = self
            .update(&answer_key(answer.tenant_id, answer.session_id, answer.answer_id))
            .condition_expression("(#status = :pending OR #status = :running) AND attempt = :attempt")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#text", "text")
            .expression_attribute_names("#usage", "usage")
            .expression_attribute_values(":pending", status(AnswerStatus::Pending))
            .expression_attribute_values(":running", status(AnswerStatus::Running))
            .expression_attribute_values(":status", status(end.status))
            .expression_attribute_values(":attempt", n(answer.attempt))
            .expression_attribute_values(":text", s(&end.text))
            .expression_attribute_values(":refused", AttributeValue::Bool(end.refused))
            .expression_attribute_values(":citations", value(&end.citations)?)
            .expression_attribute_values(":usage", value(&end.usage)?)
            .expression_attribute_values(":model", s(&end.model))
            .expression_attribute_values(":now", s(now.to_string()));
        if let Some(code) = &end.error_code {
            expression.push_str(", error_code = :code");
            update = update.expression_attribute_values(":code", s(code));
        }
        Ok(changed(update.update_expression(expression), "ending an answer").await?.is_some())
    }

    /// A person's sessions, the newest first. `cursor` is a [`Page::next`].
    pub async fn sessions(
        &self,
        tenant: TenantId,
        user: UserId,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Page<Session>> {
        let after = cursor.map(|text| text.parse::<SessionId>().map_err(|_| invalid_cursor())).transpose()?;
        let list = List { pk: user_pk(tenant, user), prefix: "session#", limit, newest_first: true };
        let after = after.map(|id| format!("session#{id}"));
        let page: Page<Session> = self.list(&list, after, "listing sessions").await?;
        Ok(page)
    }

    /// A person's session.
    pub async fn session(
        &self,
        tenant: TenantId,
        user: UserId,
        session: SessionId,
    ) -> Result<Option<Session>> {
        self.get(&session_key(tenant, user, session), "reading a session").await
    }

    /// The answers of a session, the oldest first. The caller has made sure whose session it is.
    pub async fn answers(
        &self,
        tenant: TenantId,
        session: SessionId,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Page<Answer>> {
        let after = cursor.map(|text| text.parse::<AnswerId>().map_err(|_| invalid_cursor())).transpose()?;
        let list = List { pk: session_pk(tenant, session), prefix: "answer#", limit, newest_first: false };
        self.list(&list, after.map(|id| format!("answer#{id}")), "listing answers").await
    }

    /// The last answers of a session before this one, the oldest first.
    pub async fn answers_before(
        &self,
        tenant: TenantId,
        session: SessionId,
        answer: AnswerId,
        limit: u32,
    ) -> Result<Vec<Answer>> {
        let list = List { pk: session_pk(tenant, session), prefix: "answer#", limit, newest_first: true };
        let page = self.list(&list, Some(format!("answer#{answer}")), "reading the history").await?;
        Ok(page.items.into_iter().rev().collect())
    }

    /// A person's answer.
    pub async fn answer(&self, tenant: TenantId, user: UserId, answer: AnswerId) -> Result<Option<Answer>> {
        let pointer: Option<Pointer> = self.get(&pointer_key(tenant, answer), "finding an answer").await?;
        match pointer {
            Some(pointer) if pointer.user_id == user => self.row(tenant, pointer.session_id, answer).await,
            _ => Ok(None),
        }
    }

    async fn row(&self, tenant: TenantId, session: SessionId, answer: AnswerId) -> Result<Option<Answer>> {
        self.get(&answer_key(tenant, session, answer), "reading an answer").await
    }

    async fn get<T: DeserializeOwned>(&self, keys: &Keys, what: &'static str) -> Result<Option<T>> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(keys)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| failure(what, e))?;
        output.item.map(from_item).transpose()
    }

    fn update(&self, keys: &Keys) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(keys)))
            .return_values(ReturnValue::AllNew)
    }

    async fn list<T: DeserializeOwned>(
        &self,
        list: &List,
        after: Option<String>,
        what: &'static str,
    ) -> Result<Page<T>> {
        let start = after.map(|sk| Item::from([("pk".to_owned(), s(&list.pk)), ("sk".to_owned(), s(sk))]));
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", s(&list.pk))
            .expression_attribute_values(":prefix", s(list.prefix))
            .scan_index_forward(!list.newest_first)
            .consistent_read(true)
            .limit(i32::try_from(list.limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|e| failure(what, e))?;
        let next = output.last_evaluated_key.as_ref().and_then(|key| key.get("sk")?.as_s().ok());
        let next = next.and_then(|sk| sk.strip_prefix(list.prefix)).map(str::to_owned);
        let items = output.items.unwrap_or_default().into_iter().map(from_item).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }
}

/// Rows under one partition key.
struct List {
    pk: String,
    prefix: &'static str,
    limit: u32,
    newest_first: bool,
}

type Keys = [(&'static str, String); 2];

fn key(keys: &Keys) -> Item {
    keys.iter().map(|(name, value)| ((*name).to_owned(), s(value))).collect()
}

fn user_pk(tenant: TenantId, user: UserId) -> String {
    format!("{tenant}#user#{user}")
}

fn session_pk(tenant: TenantId, session: SessionId) -> String {
    format!("{tenant}#session#{session}")
}

fn session_key(tenant: TenantId, user: UserId, session: SessionId) -> Keys {
    [("pk", user_pk(tenant, user)), ("sk", format!("session#{session}"))]
}

fn message_key(tenant: TenantId, user: UserId, client_message_id: &str) -> Keys {
    [("pk", user_pk(tenant, user)), ("sk", format!("message#{client_message_id}"))]
}

fn answer_key(tenant: TenantId, session: SessionId, answer: AnswerId) -> Keys {
    [("pk", session_pk(tenant, session)), ("sk", format!("answer#{answer}"))]
}

fn pointer_key(tenant: TenantId, answer: AnswerId) -> Keys {
    [("pk", format!("{tenant}#answer#{answer}")), ("sk", "answer".to_owned())]
}

fn status(status: AnswerStatus) -> AttributeValue {
    s(match status {
        AnswerStatus::Pending => "pending",
        AnswerStatus::Running => "running",
        AnswerStatus::Complete => "complete",
        AnswerStatus::Failed => "failed",
    })
}

fn value<T: Serialize>(value: &T) -> Result<AttributeValue> {
    serde_dynamo::to_attribute_value(value).map_err(|e| Error::internal("writing an attribute", e))
}

/// The row after an update, or nothing if its condition did not hold.
async fn changed(update: UpdateItemFluentBuilder, what: &'static str) -> Result<Option<Answer>> {
    match update.send().await {
        Ok(output) => output.attributes.map(from_item).transpose(),
        Err(SdkError::ServiceError(error))
            if matches!(error.err(), UpdateItemError::ConditionalCheckFailedException(_)) =>
        {
            Ok(None)
        }
        Err(error) => Err(failure(what, error)),
    }
}

fn invalid_cursor() -> Error {
    Error::invalid("invalid_cursor", "The cursor is not one of this list.").with_path("cursor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_stored_as_they_are_read() {
        for each in
            [AnswerStatus::Pending, AnswerStatus::Running, AnswerStatus::Complete, AnswerStatus::Failed]
        {
            assert_eq!(value(&each).unwrap(), status(each));
        }
    }

    #[test]
    fn keys_begin_with_the_tenant() {
        let tenant: TenantId = "d0c0c4a7-0000-4000-8000-000000000001".parse().unwrap();
        let user: UserId = "d0c0c4a7-0000-4000-8000-000000000002".parse().unwrap();
        let session: SessionId = "0199aaaa-0000-7000-8000-000000000001".parse().unwrap();
        let answer: AnswerId = "0199aaaa-0000-7000-8000-000000000002".parse().unwrap();
        for keys in [
            session_key(tenant, user, session),
            message_key(tenant, user, "m"),
            answer_key(tenant, session, answer),
            pointer_key(tenant, answer),
        ] {
            assert!(keys[0].1.starts_with(&format!("{tenant}#")), "{keys:?}");
        }
    }
}
