//! What the engine needs of the world.

use docuchat_aws::{chat::Finished, connections::Delivery, usage::LogEntry};
use docuchat_domain::{
    Result,
    chat::Answer,
    frame::Outbound,
    index::{Hit, SearchRequest},
    usage::Usage,
};
use docuchat_models::{ChatRequest, Event};
use std::{future::Future, time::Instant};

/// Where frames go: a WebSocket, an event stream, a buffer.
pub trait Sink: Sync {
    /// Sends one frame. [`Delivery::Gone`] ends all sending; a transient error is tried again with what has come in
    /// since.
    fn send(&self, frame: &Outbound) -> impl Future<Output = Result<Delivery>> + Send;
}

/// A chat model.
pub trait ChatModel: Sync {
    /// An answer on its way. Dropping it ends the call.
    type Stream: ChatStream;

    /// Opens a stream; one attempt.
    fn open(
        &self,
        request: &ChatRequest,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Stream>> + Send;
}

/// The events of an answer.
pub trait ChatStream: Send {
    /// The next event; `None` after the last one.
    fn next(&mut self) -> impl Future<Output = Option<Result<Event>>> + Send;
}

/// A question as a vector, and what that used.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The vector.
    pub vector: Vec<f32>,
    /// Tokens embedded.
    pub tokens: u64,
}

/// Finds passages.
pub trait Retriever: Sync {
    /// Embeds a question; retries what passes.
    fn embed(&self, text: &str, deadline: Instant) -> impl Future<Output = Result<Embedding>> + Send;

    /// Searches, best hits first.
    fn search(&self, request: &SearchRequest) -> impl Future<Output = Result<Vec<Hit>>> + Send;
}

/// Keeps answers and usage.
pub trait Journal: Sync {
    /// The answers of the same conversation before this one, the oldest first.
    fn history(&self, answer: &Answer) -> impl Future<Output = Result<Vec<Answer>>> + Send;

    /// Saves the text so far. False if the answer is no longer this worker's to write.
    fn save(&self, answer: &Answer, text: &str, usage: &Usage) -> impl Future<Output = Result<bool>> + Send;

    /// Records what was used; the same answer and attempt are counted once.
    fn record(
        &self,
        answer: &Answer,
        entry: &LogEntry,
        usage: &Usage,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Writes the end. False if it was ended before.
    fn finish(&self, answer: &Answer, end: &Finished) -> impl Future<Output = Result<bool>> + Send;
}

impl ChatModel for docuchat_models::Chat {
    type Stream = docuchat_models::ChatStream;

    async fn open(&self, request: &ChatRequest, deadline: Instant) -> Result<Self::Stream> {
        self.stream(request, deadline).await
    }
}

impl ChatStream for docuchat_models::ChatStream {
    async fn next(&mut self) -> Option<Result<Event>> {
        Self::next(self).await
    }
}
