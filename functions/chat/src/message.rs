//! `$default`: every frame of a client.
//!
//! | in | out |
//! |---|---|
//! | `{"action":"ping"}` | `pong` |
//! | `{"message","session_id"?,"client_message_id"?,"documents"?}` | `start` and the rest of the answer, from the worker |
//! | the same `client_message_id` again | `start` with the ids of the first time, and no second answer; one that has ended is told again, to its `end` or `error` |
//! | anything else | `error` |
//!
//! The function never fails towards the gateway: what goes wrong is an `error` frame. It is done within milliseconds,
//! because the gateway waits 29 seconds at most and an answer may take minutes: the answer is the worker's
//! (`chat-answer`), which is started asynchronously.
//!
//! `documents` narrows the search. Ids that are not the tenant's need no check here: the search is the tenant's own and
//! finds nothing in them.

use crate::answer::Job;
use docuchat_aws::{
    chat::{Acceptance, ChatStore, Conversation, Finished, Question},
    config,
    connections::{Connections, Delivery},
    functions::Functions,
    sockets::{Socket, Sockets},
};
use docuchat_domain::{
    AnswerId, Clock, Error, Kind, Result, SessionId, SystemClock, SystemEntropy,
    chat::{Answer, AnswerStatus},
    frame::{Ask, Inbound, Outbound},
    usage::Usage,
};
use docuchat_kit::{Env, RuntimeError, logs, socket::Event};

/// What the route needs.
#[derive(Debug)]
pub struct Message {
    chat: ChatStore,
    sockets: Sockets,
    connections: Connections,
    functions: Functions,
    answer_function: String,
    model: String,
}

impl Message {
    /// From `CHAT_TABLE`, `CONNECTIONS_TABLE`, `WEBSOCKET_CALLBACK_URL`, `CHAT_ANSWER_FUNCTION` and `CHAT_MODEL`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = config();
        Ok(Self {
            chat: ChatStore::new(&config, env.required("CHAT_TABLE")?),
            sockets: Sockets::new(&config, env.required("CONNECTIONS_TABLE")?),
            connections: Connections::new(&config, &env.required("WEBSOCKET_CALLBACK_URL")?),
            functions: Functions::new(&config),
            answer_function: env.required("CHAT_ANSWER_FUNCTION")?,
            model: env.required("CHAT_MODEL")?,
        })
    }

    /// Deals with one frame.
    pub async fn handle(&self, event: Event) -> Result<()> {
        let frames = match Inbound::parse(&event.body) {
            Ok(Inbound::Ping) => vec![Outbound::Pong],
            Ok(Inbound::Ask(ask)) => self.ask(&event.connection_id, &ask).await,
            Err(error) => {
                logs::error(&error);
                vec![Outbound::error(&error, None, None)]
            }
        };
        for frame in frames {
            self.post(&event.connection_id, &frame).await;
        }
        Ok(())
    }

    /// The frames to send at once.
    async fn ask(&self, connection_id: &str, ask: &Ask) -> Vec<Outbound> {
        match self.accept(connection_id, ask).await {
            Ok(frames) => frames,
            Err((error, answer_id)) => {
                logs::error(&error);
                vec![Outbound::error(&error, answer_id, ask.client_message_id.clone())]
            }
        }
    }

    async fn accept(
        &self,
        connection_id: &str,
        ask: &Ask,
    ) -> Result<Vec<Outbound>, (Error, Option<AnswerId>)> {
        let early = |error| (error, None);
        let now = SystemClock.now();
        let socket = self
            .sockets
            .get(connection_id, now)
            .await
            .map_err(early)?
            .ok_or_else(|| early(not_connected()))?;
        logs::note("tenant_id", socket.tenant_id.to_string());
        logs::note("user_id", socket.user_id.to_string());
        let question = Question {
            user_id: socket.user_id,
            session: ask.session_id.map_or_else(
                || Conversation::New(SessionId::generate(&SystemClock, &SystemEntropy)),
                Conversation::Known,
            ),
            answer_id: AnswerId::generate(&SystemClock, &SystemEntropy),
            text: ask.message.clone(),
            client_message_id: ask.client_message_id.clone(),
            connection_id: Some(connection_id.to_owned()),
            model: self.model.clone(),
            now,
        };
        let accepted =
            logs::timed("db_ms", self.chat.accept(socket.tenant_id, &question)).await.map_err(early)?;
        match accepted {
            Acceptance::SessionNotFound => {
                Err(early(Error::not_found("session_not_found", "session").with_path("session_id")))
            }
            Acceptance::Accepted => {
                let job = Job {
                    tenant_id: socket.tenant_id,
                    session_id: question.session.id(),
                    answer_id: question.answer_id,
                    connection_id: Some(connection_id.to_owned()),
                    client_message_id: ask.client_message_id.clone(),
                    documents: ask.documents.clone(),
                    begins_session: matches!(question.session, Conversation::New(_)),
                };
                logs::note("answer_id", job.answer_id.to_string());
                self.start(&socket, &job).await.map_err(|error| (error, Some(job.answer_id)))?;
                Ok(Vec::new())
            }
            Acceptance::Duplicate(answer) => {
                logs::note("duplicate", true);
                self.again(&answer, connection_id, ask).await.map_err(|error| (error, Some(answer.answer_id)))
            }
        }
    }

    /// Hands an accepted question to the worker. Where that fails, the answer is failed at once: nobody would come.
    async fn start(&self, socket: &Socket, job: &Job) -> Result<()> {
        let Err(error) = logs::timed("invoke_ms", self.functions.send(&self.answer_function, job)).await
        else {
            return Ok(());
        };
        let failed = Finished {
            status: AnswerStatus::Failed,
            text: String::new(),
            refused: false,
            citations: Vec::new(),
            usage: Usage::default(),
            model: String::new(),
            error_code: Some("not_started".into()),
        };
        let answer = self.chat.answer(socket.tenant_id, socket.user_id, job.answer_id).await?;
        if let Some(answer) = answer {
            self.chat.finish(&answer, &failed, SystemClock.now()).await?;
        }
        Err(Error::new(
            Kind::Unavailable,
            "not_started",
            "The answer could not be started; send the message again.",
        )
        .with_source(error))
    }

    /// The answer to a message that was sent before. One that is still pending is handed to the worker once more, in
    /// case the first hand-over was lost; the worker takes it up once, however often it is told to.
    async fn again(&self, answer: &Answer, connection_id: &str, ask: &Ask) -> Result<Vec<Outbound>> {
        if answer.status == AnswerStatus::Pending {
            let job = Job {
                tenant_id: answer.tenant_id,
                session_id: answer.session_id,
                answer_id: answer.answer_id,
                connection_id: Some(connection_id.to_owned()),
                client_message_id: ask.client_message_id.clone(),
                documents: ask.documents.clone(),
                begins_session: false,
            };
            self.functions.send(&self.answer_function, &job).await?;
        }
        Ok(told_again(answer.clone().as_seen_at(SystemClock.now()), ask.client_message_id.as_ref()))
    }

    /// Posts a frame. There is nobody to tell if that fails.
    async fn post(&self, connection_id: &str, frame: &Outbound) {
        match self.connections.post(connection_id, frame).await {
            Ok(Delivery::Sent) => {}
            Ok(Delivery::Gone) => {
                if let Err(error) = self.sockets.remove(connection_id).await {
                    tracing::warn!(error = error.chain(), "a connection that is gone could not be forgotten");
                }
            }
            Err(error) => tracing::warn!(error = error.chain(), "a frame could not be posted"),
        }
    }
}

/// Characters of one delta of an answer that is told again: well within a frame, whatever the script.
const REPLAY_CHARS: usize = 6_000;

/// The frames of an answer from the beginning, as far as it is known to be final.
fn told_again(answer: Answer, client_message_id: Option<&String>) -> Vec<Outbound> {
    let (session_id, answer_id) = (answer.session_id, answer.answer_id);
    let client_message_id = client_message_id.cloned();
    let mut frames =
        vec![Outbound::Start { session_id, answer_id, client_message_id: client_message_id.clone() }];
    if matches!(answer.status, AnswerStatus::Pending | AnswerStatus::Running) {
        return frames;
    }
    let letters: Vec<char> = answer.text.chars().collect();
    for (index, piece) in letters.chunks(REPLAY_CHARS).enumerate() {
        let token = piece.iter().collect();
        frames.push(Outbound::Delta { answer_id, offset: index * REPLAY_CHARS, token });
    }
    frames.push(match answer.status {
        AnswerStatus::Failed => Outbound::Error {
            answer_id: Some(answer_id),
            code: answer.error_code.unwrap_or_else(|| "interrupted".into()),
            message: "This answer failed; send the message again with a new client_message_id.".into(),
            retryable: true,
            client_message_id,
        },
        _ => Outbound::End {
            session_id,
            answer_id,
            usage: answer.usage,
            citations: answer.citations,
            model: answer.model,
            refused: answer.refused,
        },
    });
    frames
}

fn not_connected() -> Error {
    Error::new(
        Kind::Unauthenticated,
        "not_connected",
        "This connection is not known any more; connect again.",
    )
}
