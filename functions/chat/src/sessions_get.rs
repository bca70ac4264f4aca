//! `GET /v1/sessions/{session_id}?limit=&cursor=`: one of a person's own conversations with its messages, the oldest
//! first. `limit` counts questions; each one brings its answer along.
//!
//! 200 `{"session_id","title","created_at","updated_at","answers","messages":[…],"next_cursor"}`; 404
//! `session_not_found` also for another person's or tenant's; 400 `invalid_limit`, `invalid_cursor`.

use crate::sessions_list::SessionView;
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
pub struct SessionsGet {
    tokens: Tokens,
    chat: ChatStore,
}

#[derive(Debug, Serialize)]
struct Response {
    #[serde(flatten)]
    session: SessionView,
    messages: Vec<Message>,
    /// Pass as `cursor` to read on.
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum Message {
    User {
        /// The answer that this question got.
        answer_id: AnswerId,
        content: String,
        created_at: Timestamp,
    },
    Assistant {
        answer_id: AnswerId,
        /// The text; what there is of it while the status is `pending` or `running`.
        content: String,
        status: AnswerStatus,
        /// Whether it is a refusal: the documents do not tell.
        refused: bool,
        citations: Vec<Citation>,
        usage: Usage,
        model: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_code: Option<String>,
        /// When it was last written to.
        created_at: Timestamp,
    },
}

impl SessionsGet {
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
        let id: SessionId = call.path_id("session_id", "session_not_found", "session")?;
        let limit = call.limit()?;
        let read = self.chat.session(member.tenant_id, member.user_id, id);
        let session = logs::timed("db_ms", read).await?;
        let session = session.ok_or_else(|| Error::not_found("session_not_found", "session"))?;
        let read = self.chat.answers(member.tenant_id, id, limit, call.query("cursor"));
        let page = logs::timed("db_ms", read).await?;
        let now = SystemClock.now();
        let messages = page.items.into_iter().flat_map(|answer| messages(answer.as_seen_at(now))).collect();
        Reply::json(200, &Response { session: session.into(), messages, next_cursor: page.next })
    }
}

fn messages(answer: Answer) -> [Message; 2] {
    [
        Message::User {
            answer_id: answer.answer_id,
            content: answer.question,
            created_at: answer.created_at,
        },
        Message::Assistant {
            answer_id: answer.answer_id,
            content: answer.text,
            status: answer.status,
            refused: answer.refused,
            citations: answer.citations,
            usage: answer.usage,
            model: answer.model,
            error_code: answer.error_code,
            created_at: answer.updated_at,
        },
    ]
}
