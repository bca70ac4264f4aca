//! `GET /v1/sessions?limit=&cursor=`: a person's own conversations, the newest first.
//!
//! 200 `{"sessions":[{"session_id","title","created_at","updated_at","answers"}],"next_cursor":"…"|null}`; 400
//! `invalid_limit`, `invalid_cursor`.

use docuchat_aws::{chat::ChatStore, config};
use docuchat_domain::{Result, SessionId, SystemClock, chat::Session};
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
pub struct SessionsList {
    tokens: Tokens,
    chat: ChatStore,
}

#[derive(Debug, Serialize)]
struct Response {
    sessions: Vec<SessionView>,
    /// Pass as `cursor` to read on.
    next_cursor: Option<String>,
}

/// A conversation as REST shows it.
#[derive(Debug, Serialize)]
pub(crate) struct SessionView {
    session_id: SessionId,
    /// The beginning of the first question.
    title: String,
    created_at: Timestamp,
    /// When it was last asked something.
    updated_at: Timestamp,
    /// Questions asked in it.
    answers: u32,
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        Self {
            session_id: session.session_id,
            title: session.title,
            created_at: session.created_at,
            updated_at: session.updated_at,
            answers: session.answers,
        }
    }
}

impl SessionsList {
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
        let read = self.chat.sessions(member.tenant_id, member.user_id, call.limit()?, call.query("cursor"));
        let page = logs::timed("db_ms", read).await?;
        let sessions = page.items.into_iter().map(SessionView::from).collect();
        Reply::json(200, &Response { sessions, next_cursor: page.next })
    }
}
