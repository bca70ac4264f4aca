//! `chat-answer`: the worker that answers one question, invoked asynchronously by `ws-message`.
//!
//! Lambda may deliver an event twice and repeats one that failed: the claim on the answer's row lets one worker through.
//! A worker that finds a row whose worker died in mid-text ends it as `interrupted`.

use crate::engine::{
    Engine, Settings, Task,
    ports::{Embedding, Journal, Retriever, Sink},
};
use docuchat_aws::{
    chat::{ChatStore, Claim, Finished},
    config,
    config::config_for_long_calls,
    connections::{Connections, Delivery},
    functions::Functions,
    sockets::Sockets,
    usage::{LogEntry, UsageStore},
};
use docuchat_domain::{
    AnswerId, Clock, DocumentId, Error, Result, SessionId, SystemClock, TenantId,
    chat::Answer,
    frame::Outbound,
    index::{Hit, SearchCall, SearchRequest, SearchResponse},
    usage::Usage,
};
use docuchat_kit::{Env, RuntimeError, invoke::Invocation, logs};
use docuchat_models::{Chat, Embedder, catalogue};
use docuchat_text::counter_for_model;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Time kept for writing the end before Lambda ends the invocation.
const MARGIN: Duration = Duration::from_secs(20);

/// How long `index-search` may take; its own time-out is 20 seconds.
const SEARCH_LIMIT: Duration = Duration::from_secs(21);

/// Earlier questions looked at.
const HISTORY: u32 = 10;

/// What `ws-message` hands over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The conversation.
    pub session_id: SessionId,
    /// The answer.
    pub answer_id: AnswerId,
    /// The connection that hears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<String>,
    /// The client's own id of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// Only these documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Vec<DocumentId>>,
    /// Whether the question begins its conversation.
    #[serde(default)]
    pub begins_session: bool,
}

/// What became of a job. Lambda drops it; it helps whoever invokes the function by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer was written to its end, which may be a failure.
    Answered,
    /// Another worker had died; the answer was ended.
    Interrupted,
    /// There was nothing to do.
    Settled,
}

/// What the worker needs.
#[derive(Debug)]
pub struct Worker {
    store: Store,
    search: Search,
    chat: Chat,
    connections: Connections,
    sockets: Sockets,
    settings: Settings,
}

#[derive(Debug)]
struct Store {
    chat: ChatStore,
    usage: UsageStore,
}

#[derive(Debug)]
struct Search {
    embedder: Embedder,
    functions: Functions,
    function: String,
}

/// A WebSocket, or nobody.
#[derive(Debug)]
struct Socket<'a> {
    connections: &'a Connections,
    connection_id: Option<&'a str>,
}

impl Worker {
    /// From `CHAT_TABLE`, `USAGE_TABLE`, `CONNECTIONS_TABLE`, `INDEX_SEARCH_FUNCTION`, `WEBSOCKET_CALLBACK_URL`,
    /// `CHAT_MODEL`, `CHAT_MODELS`, `TOP_K`, `MAX_CONTEXT_TOKENS`, `RELEVANCE_THRESHOLD` and the settings of the model
    /// service.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = config();
        let model = catalogue(env)?.default_model().clone();
        Ok(Self {
            store: Store {
                chat: ChatStore::new(&config, env.required("CHAT_TABLE")?),
                usage: UsageStore::new(&config, env.required("USAGE_TABLE")?),
            },
            search: Search {
                embedder: Embedder::from_env(env)?,
                functions: Functions::new(&config_for_long_calls(SEARCH_LIMIT)),
                function: env.required("INDEX_SEARCH_FUNCTION")?,
            },
            chat: Chat::from_env(env)?,
            connections: Connections::new(&config, &env.required("WEBSOCKET_CALLBACK_URL")?),
            sockets: Sockets::new(&config, env.required("CONNECTIONS_TABLE")?),
            settings: Settings {
                top_k: env.parsed("TOP_K", 6, "a number")?,
                max_context_tokens: env.parsed("MAX_CONTEXT_TOKENS", 8000, "a number of tokens")?,
                relevance_threshold: env.required_parsed("RELEVANCE_THRESHOLD", "a number from 0 to 1")?,
                counter: counter_for_model(&model.id),
                model,
            },
        })
    }

    /// Answers one question.
    ///
    /// # Errors
    /// Only where the answer's row could not be brought to an end: Lambda then sends the job once more.
    pub async fn handle(&self, job: Job, invocation: Invocation) -> Result<Outcome> {
        logs::note("tenant_id", job.tenant_id.to_string());
        logs::note("answer_id", job.answer_id.to_string());
        // Loading the vocabulary takes 70 to 160 ms, once per process; it is done while the search is under way.
        let counter = self.settings.counter;
        tokio::task::spawn_blocking(move || counter.count("a"));
        let now = SystemClock.now();
        let claim = self.store.chat.claim(job.tenant_id, job.session_id, job.answer_id, now);
        let claim = logs::timed("claim_ms", claim).await?;
        let socket = Socket { connections: &self.connections, connection_id: job.connection_id.as_deref() };
        let engine = Engine {
            sink: &socket,
            model: &self.chat,
            retriever: &self.search,
            journal: &self.store,
            settings: &self.settings,
            clock: &SystemClock,
        };
        let answer = match claim {
            Claim::Taken(answer) => *answer,
            Claim::Abandoned(answer) => {
                engine.abandon(&answer, job.client_message_id).await?;
                return Ok(Outcome::Interrupted);
            }
            Claim::Settled => return Ok(Outcome::Settled),
            Claim::Missing => return Err(Error::internal("taking up an answer", "there is no such answer")),
        };
        logs::note("attempt", answer.attempt);
        let queued = now.duration_since(answer.created_at).as_millis();
        logs::note("queue_ms", u64::try_from(queued).unwrap_or(0));
        let task = Task {
            answer,
            client_message_id: job.client_message_id,
            documents: job.documents,
            begins_session: job.begins_session,
        };
        let deadline = tokio::time::Instant::now() + invocation.remaining(MARGIN);
        let report = Box::pin(engine.run(&task, deadline)).await;
        if report.lost
            && let Some(connection_id) = &job.connection_id
            && let Err(error) = self.sockets.remove(connection_id).await
        {
            tracing::warn!(error = error.chain(), "a connection that is gone could not be forgotten");
        }
        report.unfinished.map_or(Ok(Outcome::Answered), Err)
    }
}

impl Sink for Socket<'_> {
    async fn send(&self, frame: &Outbound) -> Result<Delivery> {
        match self.connection_id {
            Some(connection_id) => self.connections.post(connection_id, frame).await,
            None => Ok(Delivery::Gone),
        }
    }
}

impl Retriever for Search {
    async fn embed(&self, text: &str, deadline: Instant) -> Result<Embedding> {
        let embedded = self.embedder.query(text, deadline).await?;
        let vector = embedded.vectors.into_iter().next();
        let vector = vector.ok_or_else(|| Error::internal("embedding a question", "no vector"))?;
        Ok(Embedding { vector, tokens: embedded.tokens })
    }

    async fn search(&self, request: &SearchRequest) -> Result<Vec<Hit>> {
        let call = SearchCall::Search(request.clone());
        let found: SearchResponse = self.functions.call(&self.function, &call).await?;
        logs::note("db_ms", found.took_ms);
        Ok(found.hits)
    }
}

impl Journal for Store {
    async fn history(&self, answer: &Answer) -> Result<Vec<Answer>> {
        self.chat.answers_before(answer.tenant_id, answer.session_id, answer.answer_id, HISTORY).await
    }

    async fn save(&self, answer: &Answer, text: &str, usage: &Usage) -> Result<bool> {
        let row = self.chat.save(answer, text, usage, SystemClock.now()).await?;
        Ok(row.is_some())
    }

    async fn record(&self, answer: &Answer, entry: &LogEntry, usage: &Usage) -> Result<()> {
        self.usage.record(answer.tenant_id, answer.user_id, entry, usage).await.map(drop)
    }

    async fn finish(&self, answer: &Answer, end: &Finished) -> Result<bool> {
        self.chat.finish(answer, end, SystemClock.now()).await
    }
}
