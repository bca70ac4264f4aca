//! `GET /v1/answers/{answer_id}?after=`: an answer as far as it is written, for a client whose socket is gone.
//!
//! `after` is the number of characters the client has. 200 `{"answer_id","session_id","status","question","offset",
//! "text",…}` where `text` begins at `offset`; 404 `answer_not_found` also for another person's or tenant's; 400
//! `invalid_after`.

use docuchat_aws::{chat::ChatStore, config};
use docuchat_domain::{
    AnswerId, Clock, Error, Result, SessionId, SystemClock,
    chat::{Answer, AnswerStatus, Citation},
    usage::Usage,
};
use docuchat_kit::{
    Env, RuntimeError,
    identity::Tokens,
    logs,
    rest::{Call, Reply},
};
use jiff::Timestamp;
use serde::Serialize;

/// What the route needs.
#[derive(Debug)]
pub struct AnswersGet {
    tokens: Tokens,
    chat: ChatStore,
}

#[derive(Debug, Serialize)]
struct Response {
    answer_id: AnswerId,
    session_id: SessionId,
    status: AnswerStatus,
    question: String,
    /// Where `text` begins, in characters from the answer's beginning: `after`, or the end if that is nearer.
    offset: usize,
    /// The text from there on.
    text: String,
    /// Characters of the whole text so far.
    length: usize,
    /// Whether it is a refusal: the documents do not tell.
    refused: bool,
    citations: Vec<Citation>,
    usage: Usage,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl AnswersGet {
    /// From `TOKEN_SECRETS` and `CHAT_TABLE`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        Ok(Self {
            tokens: Tokens::from_env(env)?,
            chat: ChatStore::new(&config(), env.required("CHAT_TABLE")?),
        })
    }

    /// Answers one call.
    pub async fn handle(&self, call: &Call) -> Result<Reply> {
        let member = self.tokens.member(call, &SystemClock)?;
        let id: AnswerId = call.path_id("answer_id", "answer_not_found", "answer")?;
        let after = after(call.query("after"))?;
        let read = self.chat.answer(member.tenant_id, member.user_id, id);
        let answer = logs::timed("db_ms", read).await?;
        let answer = answer.ok_or_else(|| Error::not_found("answer_not_found", "answer"))?;
        Reply::json(200, &view(answer.as_seen_at(SystemClock.now()), after))
    }
}

fn after(text: Option<&str>) -> Result<usize> {
    let invalid = || Error::invalid("invalid_after", "after is a number of characters.").with_path("after");
    text.map_or(Ok(0), |text| text.parse().map_err(|_| invalid()))
}

fn view(answer: Answer, after: usize) -> Response {
    let length = answer.text.chars().count();
    Response {
        answer_id: answer.answer_id,
        session_id: answer.session_id,
        status: answer.status,
        question: answer.question,
        offset: after.min(length),
        text: answer.text.chars().skip(after).collect(),
        length,
        refused: answer.refused,
        citations: answer.citations,
        usage: answer.usage,
        model: answer.model,
        error_code: answer.error_code,
        created_at: answer.created_at,
        updated_at: answer.updated_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_goes_on_after_what_the_client_has() {
        let id = "0199aaaa-0000-7000-8000-000000000001";
        let answer = Answer {
            tenant_id: id.parse().unwrap(),
            user_id: id.parse().unwrap(),
            session_id: id.parse().unwrap(),
            answer_id: id.parse().unwrap(),
            question: "q".into(),
            text: "سلام دنیا".into(),
            status: AnswerStatus::Running,
            refused: false,
            citations: Vec::new(),
            model: "m".into(),
            usage: Usage::default(),
            error_code: None,
            attempt: 1,
            connection_id: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let seen = view(answer.clone(), 5);
        assert_eq!((seen.offset, seen.text.as_str(), seen.length), (5, "دنیا", 9));
        let beyond = view(answer, 99);
        assert_eq!((beyond.offset, beyond.text.as_str()), (9, ""));
        assert_eq!(after(Some("-1")).unwrap_err().code(), "invalid_after");
        assert_eq!(after(None).unwrap(), 0);
    }
}
