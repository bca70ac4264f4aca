//! Prompts to streams of text.

use crate::{
    service::{ErrorDetail, Service, accepted, unavailable},
    sse::Decoder,
};
use docuchat_domain::{Error, Kind, Result};
use docuchat_kit::{Env, RuntimeError};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How long the service may take to accept a prompt and send the head of its answer.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// Asks chat models.
#[derive(Debug, Clone)]
pub struct Chat(Service);

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions of ours.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One message of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub content: String,
}

/// A prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// A model on the whitelist.
    pub model: String,
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// From 0 (always the likeliest word) to 2.
    pub temperature: f32,
    /// The longest answer, in tokens.
    pub max_tokens: u32,
}

/// What the service counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub tokens_in: u64,
    /// Tokens of the answer.
    pub tokens_out: u64,
}

/// What a stream brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// More text; never empty.
    Delta(String),
    /// The answer is whole. Always the last event.
    Done {
        /// Why it ended: `stop`, `length`, `content_filter`.
        finish_reason: String,
        /// What the service counted, if it said so.
        usage: Option<TokenUsage>,
    },
}

/// An answer on its way. Dropping it closes the connection, and the service stops.
#[derive(Debug)]
pub struct ChatStream {
    response: reqwest::Response,
    decoder: Decoder,
    ready: VecDeque<String>,
    finish_reason: Option<String>,
    usage: Option<TokenUsage>,
    ended: bool,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    max_completion_tokens: u32,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Counted>,
    #[serde(default)]
    error: Option<ErrorDetail>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl Chat {
    /// From the service's settings.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        Service::from_env(env).map(Self)
    }

    /// Opens a stream. One attempt: the caller knows whether another one still makes sense.
    pub async fn stream(&self, request: &ChatRequest, deadline: Instant) -> Result<ChatStream> {
        let body = Request {
            model: &request.model,
            messages: &request.messages,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            // Reasoning models accept only the default.
            temperature: (!is_reasoning(&request.model)).then_some(request.temperature),
            max_completion_tokens: request.max_tokens,
        };
        let limit = HEAD_LIMIT.min(deadline.saturating_duration_since(Instant::now()));
        let response =
            match tokio::time::timeout(limit, accepted(self.0.post("chat/completions", &body))).await {
                Ok(result) => result?,
                Err(elapsed) => return Err(unavailable("no answer in time", &elapsed)),
            };
        Ok(ChatStream {
            response,
            decoder: Decoder::default(),
            ready: VecDeque::new(),
            finish_reason: None,
            usage: None,
            ended: false,
        })
    }
}

fn is_reasoning(model: &str) -> bool {
    ["o1", "o3", "o4", "gpt-5"].iter().any(|prefix| model.starts_with(prefix))
}

impl ChatStream {
    /// The next event; `None` after [`Event::Done`] or an error.
    ///
    /// # Errors
    /// A stream that ends without a finish reason, or in which the service reports an error, has failed: the text so
    /// far is not an answer.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        if self.ended {
            return None;
        }
        let event = self.advance().await;
        self.ended = !matches!(event, Ok(Event::Delta(_)));
        Some(event)
    }

    async fn advance(&mut self) -> Result<Event> {
        loop {
            while let Some(data) = self.ready.pop_front() {
                if data == "[DONE]" {
                    return self.finish();
                }
                if let Some(event) = self.read(&data)? {
                    return Ok(event);
                }
            }
            let Some(bytes) = self.response.chunk().await.map_err(|e| cut(&e))? else { return self.finish() };
            let mut events = Vec::new();
            self.decoder.push(&bytes, &mut events).map_err(|_| cut(&"an event is larger than 1 MB"))?;
            self.ready.extend(events);
        }
    }

    fn read(&mut self, data: &str) -> Result<Option<Event>> {
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|e| cut(&format!("an event is not JSON: {e}")))?;
        if let Some(error) = chunk.error {
            return Err(cut(&format!("the service reported: {}", error.message)));
        }
        // The last chunk has no choices, only the usage.
        if let Some(counted) = chunk.usage {
            self.usage =
                Some(TokenUsage { tokens_in: counted.prompt_tokens, tokens_out: counted.completion_tokens });
        }
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(None) };
        if choice.finish_reason.is_some() {
            self.finish_reason = choice.finish_reason;
        }
        Ok(choice.delta.content.filter(|text| !text.is_empty()).map(Event::Delta))
    }

    /// The end of the stream, which is only a good one if a finish reason came before.
    fn finish(&mut self) -> Result<Event> {
        match self.finish_reason.take() {
            Some(finish_reason) => Ok(Event::Done { finish_reason, usage: self.usage }),
            None => Err(cut(&"it ended without a finish reason")),
        }
    }
}

fn cut(cause: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Unavailable, "model_stream_cut", "The model's answer broke off; try again.")
        .with_source(format!("the stream failed: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, http::header, routing::post};

    async fn answer_to(body: &'static str) -> Vec<Result<Event>> {
        let app = Router::new().route(
            "/v1/chat/completions",
            post(move || async move { ([(header::CONTENT_TYPE, "text/event-stream")], body) }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let env = Env::of(&[("OPENAI_BASE_URL", &url), ("OPENAI_API_KEY", "k")]);
        let request = ChatRequest { model: "m".into(), messages: vec![], temperature: 0.0, max_tokens: 10 };
        let chat = Chat::from_env(&env).unwrap();
        let mut stream = chat.stream(&request, Instant::now() + Duration::from_secs(5)).await.unwrap();
        let mut events = Vec::new();
        while let Some(event) = stream.next().await {
            events.push(event);
        }
        events
    }

    #[tokio::test]
    async fn a_whole_answer_with_its_usage() {
        let events = answer_to(concat!(
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"سلام\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n",
            "data: [DONE]\n\n"
        ))
        .await;
        let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
        let usage = Some(TokenUsage { tokens_in: 3, tokens_out: 1 });
        assert_eq!(events, [Event::Delta("سلام".into()), Event::Done { finish_reason: "stop".into(), usage }]);
    }

    #[tokio::test]
    async fn a_stream_that_is_cut_has_failed() {
        let cuts = [
            "",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"error\":{\"message\":\"overloaded\"}}\n\n",
            "data: <html>\n\n",
        ];
        for body in cuts {
            let last = answer_to(body).await.pop().unwrap();
            assert_eq!(last.unwrap_err().code(), "model_stream_cut", "{body}");
        }
    }
}
