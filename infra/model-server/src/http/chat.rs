//! `POST /v1/chat/completions`: model `local-extractive`, whole or streamed.
//!
//! Tokens are counted by the embedding model's tokenizer, contents only.

use std::{sync::Arc, time::Instant};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    CHAT_MODEL, Fault, FaultKind, FaultRoute, Shared,
    error::ApiError,
    stats::{InFlight, Route},
};
use crate::{extractive, prompt::Prompt};

/// Messages with more tokens are refused, as every hosted model does at some length.
const CONTEXT_TOKENS: usize = 32_768;

#[derive(Debug, Deserialize)]
struct Request {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<usize>,
    #[serde(default)]
    max_completion_tokens: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

impl Message {
    fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// An answer that is ready to be sent.
struct Completion {
    id: String,
    created: u64,
    /// Words with the white space after them; put together they are the answer.
    pieces: Vec<String>,
    finish_reason: &'static str,
    tokens_in: usize,
    tokens_out: usize,
    stream: bool,
    include_usage: bool,
}

impl Completion {
    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.tokens_in,
            "completion_tokens": self.tokens_out,
            "total_tokens": self.tokens_in + self.tokens_out,
        })
    }

    /// The event of one step of the stream. With `include_usage` every chunk has the field, null but for the last.
    fn chunk(&self, choices: &Value, usage: &Value) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": CHAT_MODEL,
            "choices": choices,
        });
        if let Some(fields) = chunk.as_object_mut().filter(|_| self.include_usage) {
            fields.insert("usage".to_owned(), usage.clone());
        }
        chunk
    }

    fn delta(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        self.chunk(&json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}]), &Value::Null)
    }

    fn whole(&self) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": CHAT_MODEL,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": self.pieces.concat()},
                "finish_reason": self.finish_reason,
            }],
            "usage": self.usage(),
        })
    }
}

pub(super) async fn create(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let started = Instant::now();
    let in_flight = shared.stats.enter(Route::Chat);
    let fault = shared.faults.strike(FaultRoute::Chat);
    if fault.is_some() {
        in_flight.update(|stats| stats.faults += 1);
    }
    let kind = fault.as_ref().map(|fault| fault.kind);
    let response = if let Some(response) = fault.as_ref().and_then(Fault::early_response) {
        response
    } else {
        if let Some(fault) = fault.as_ref().filter(|f| f.kind == FaultKind::Slow && f.after_tokens.is_none())
        {
            tokio::time::sleep(fault.delay()).await;
        }
        match complete(&shared, &body).await {
            Ok(completion) => respond(&shared, completion, fault, in_flight).await,
            Err(error) => {
                in_flight.update(|stats| stats.refused += 1);
                error.into_response()
            }
        }
    };
    super::log("chat", CHAT_MODEL, &response, started, kind);
    response
}

async fn complete(shared: &Shared, body: &[u8]) -> Result<Completion, ApiError> {
    let request: Request = serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid(None, format!("not a valid request: {error}")))?;
    if request.model != CHAT_MODEL {
        return Err(ApiError::unknown_model(&request.model));
    }
    let texts: Vec<String> = request.messages.iter().map(Message::text).collect();
    let tokens_in = texts.iter().map(|text| shared.engine.count_tokens(text)).sum();
    if tokens_in > CONTEXT_TOKENS {
        return Err(ApiError::context_length(tokens_in, CONTEXT_TOKENS));
    }
    let by_role = |role: &[&str]| {
        let messages = request.messages.iter().zip(&texts);
        let role: Vec<String> = role.iter().map(|&role| role.to_owned()).collect();
        messages.filter(move |(message, _)| role.contains(&message.role)).map(|(_, text)| text.as_str())
    };
    let Some(last_user) = by_role(&["user"]).next_back() else {
        return Err(ApiError::invalid(Some("messages"), "there must be a message of the user"));
    };
    let prompt = Prompt::read(last_user, &by_role(&["system", "developer"]).collect::<Vec<_>>());
    let answer = extractive::answer(&shared.engine, &prompt)
        .await
        .map_err(|error| ApiError::server(error.to_string()))?;
    let mut pieces: Vec<String> =
        answer.split_inclusive(char::is_whitespace).map(ToOwned::to_owned).collect();
    let mut tokens_out = shared.engine.count_tokens(&answer);
    let mut finish_reason = "stop";
    if let Some(most) = request.max_completion_tokens.or(request.max_tokens).filter(|&most| tokens_out > most)
    {
        tokens_out = 0;
        let fitting = pieces.iter().take_while(|piece| {
            tokens_out += shared.engine.count_tokens(piece);
            tokens_out <= most
        });
        let fitting = fitting.count();
        pieces.truncate(fitting);
        tokens_out = shared.engine.count_tokens(&pieces.concat());
        finish_reason = "length";
    }
    Ok(Completion {
        id: shared.completion_id(),
        created: super::unix_seconds(),
        pieces,
        finish_reason,
        tokens_in,
        tokens_out,
        stream: request.stream.unwrap_or(false),
        include_usage: request.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
    })
}

async fn respond(
    shared: &Arc<Shared>,
    completion: Completion,
    fault: Option<Fault>,
    in_flight: InFlight,
) -> Response {
    in_flight.update(|stats| stats.prompt_tokens += completion.tokens_in as u64);
    if completion.stream {
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        let streaming =
            Streaming { shared: Arc::clone(shared), completion, fault, in_flight, step: Step::Begin };
        // Dropping the body (the client left) drops the whole state: nothing runs on.
        let body = Body::from_stream(stream::unfold(streaming, |mut streaming| async move {
            let event = streaming.next().await?;
            Some((Ok::<_, std::convert::Infallible>(event), streaming))
        }));
        return (headers, body).into_response();
    }
    let text = completion.whole().to_string();
    let response = match &fault {
        Some(fault) => fault.whole_response(shared, text).await,
        None => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
    };
    in_flight.update(|stats| {
        stats.completion_tokens += completion.tokens_out as u64;
        stats.completed += 1;
    });
    response
}

/// Where a stream is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    Piece(usize),
    Finish,
    Usage,
    Done,
    End,
}

struct Streaming {
    shared: Arc<Shared>,
    completion: Completion,
    fault: Option<Fault>,
    in_flight: InFlight,
    step: Step,
}

impl Streaming {
    /// The next event; `None` ends the body.
    async fn next(&mut self) -> Option<Bytes> {
        let step = self.step;
        match step {
            Step::Begin => {
                self.step = Step::Piece(0);
                Some(event(&self.completion.delta(&json!({"role": "assistant", "content": ""}), None)))
            }
            Step::Piece(index) => {
                if let Some(struck) = self.strike(index).await {
                    return struck;
                }
                let Some(piece) = self.completion.pieces.get(index) else {
                    self.step = Step::Usage;
                    return Some(event(
                        &self.completion.delta(&json!({}), Some(self.completion.finish_reason)),
                    ));
                };
                if index > 0 && !self.shared.token_delay.is_zero() {
                    tokio::time::sleep(self.shared.token_delay).await;
                }
                self.step = Step::Piece(index + 1);
                let tokens = self.shared.engine.count_tokens(piece) as u64;
                self.in_flight.update(|stats| stats.completion_tokens += tokens);
                Some(event(&self.completion.delta(&json!({"content": piece}), None)))
            }
            Step::Usage if self.completion.include_usage => {
                self.step = Step::Done;
                Some(event(&self.completion.chunk(&json!([]), &self.completion.usage())))
            }
            Step::Usage | Step::Done => {
                self.step = Step::Finish;
                Some(Bytes::from_static(b"data: [DONE]\n\n"))
            }
            Step::Finish => {
                self.step = Step::End;
                self.in_flight.update(|stats| stats.completed += 1);
                None
            }
            Step::End => None,
        }
    }

    /// What a fault does before piece `index`: `None` nothing, `Some(None)` the end, `Some(Some(..))` a last event.
    async fn strike(&mut self, index: usize) -> Option<Option<Bytes>> {
        // An answer shorter than `after_tokens` is hit at its end, before the finish reason.
        let due = |fault: &&Fault| index >= fault.after_tokens.unwrap_or(0).min(self.completion.pieces.len());
        let fault = self.fault.as_ref().filter(due)?.clone();
        match fault.kind {
            FaultKind::Slow => {
                self.fault = None;
                if fault.after_tokens.is_some() {
                    tokio::time::sleep(fault.delay()).await;
                }
                None
            }
            FaultKind::Stall => {
                self.step = Step::End;
                self.shared.stopped().await;
                Some(None)
            }
            FaultKind::Cut => {
                self.step = Step::End;
                Some(None)
            }
            FaultKind::ErrorEvent => {
                self.step = Step::End;
                Some(Some(event(&ApiError::server("A fault that a test switched on.").body())))
            }
            FaultKind::Garbage => {
                self.step = Step::End;
                Some(Some(Bytes::from_static(b"data: {\"choices\": [{\"delta\": {\n\n")))
            }
            FaultKind::RateLimited | FaultKind::Error500 | FaultKind::HtmlBody => None,
        }
    }
}

/// One server-sent event (WHATWG HTML, section 9.2). JSON has no line ends of its own.
fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}
