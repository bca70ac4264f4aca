//! The engine: from a question that was taken up to an answer that is streamed, kept and counted.
//!
//! It is generic over what it needs ([`ports`]), so that the same engine serves a WebSocket, an event stream or one JSON
//! answer, and so that every failure can be tested without a network.
//!
//! Three things run side by side: the writing (search, prompt, model), the posting of frames ([`outbox`]) and, once a
//! second, the saving of what there is. A slow client or a slow save holds up neither the model nor each other.

pub mod outbox;
pub mod ports;

use docuchat_aws::{chat::Finished, usage::LogEntry};
use docuchat_domain::{
    Clock, DocumentId, Error, Kind, Result,
    catalogue::Model,
    chat::{Answer, AnswerStatus, HEARTBEAT},
    frame::Outbound,
    index::{Hit, SearchRequest},
    usage::Usage,
};
use docuchat_kit::logs;
use docuchat_models::{ChatRequest, Event, Message, Role, TokenUsage};
use docuchat_rag::{self as rag, Bounds, MarkFilter, Source, Turn};
use docuchat_text::TokenCounter;
use outbox::Outbox;
use ports::{ChatModel, ChatStream, Journal, Retriever, Sink};
use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout, timeout_at};

/// How often a model is asked again when it fails in a passing way before its first word.
const MODEL_RETRIES: u32 = 2;

/// How often a search is tried.
const SEARCH_ATTEMPTS: u32 = 3;

/// How often usage and end are written before that counts as failed.
const WRITE_ATTEMPTS: u32 = 4;

/// A model that says nothing for so long has stalled.
const STALL: Duration = Duration::from_secs(30);

/// A model that asks for a longer pause than this is not waited for: the person is told instead.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(8);

/// The pause after a first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(300);

/// How long embedding a question may take, retries included.
const EMBED_LIMIT: Duration = Duration::from_secs(20);

/// The longest answer, in tokens.
const MOST_ANSWER_TOKENS: u32 = 2048;

/// Hits asked of the search for each source wanted: repetitions fall away and neighbours merge.
const HITS_PER_SOURCE: usize = 4;

/// The share of the context that earlier turns may take.
const HISTORY_SHARE: usize = 4;

/// What every answer of this deployment has in common.
#[derive(Clone)]
pub struct Settings {
    /// The model.
    pub model: Model,
    /// Most sources.
    pub top_k: usize,
    /// Most tokens of sources, history and question.
    pub max_context_tokens: usize,
    /// The cosine similarity from which on a passage is relevant.
    pub relevance_threshold: f64,
    /// Counts tokens as the model does.
    pub counter: &'static dyn TokenCounter,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("model", &self.model.id)
            .field("counter", &self.counter.name())
            .finish_non_exhaustive()
    }
}

/// An answer to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The answer's row, taken up.
    pub answer: Answer,
    /// The client's own id of the question.
    pub client_message_id: Option<String>,
    /// Only these documents.
    pub documents: Option<Vec<DocumentId>>,
    /// Whether the question begins its conversation, so that there is no history to read.
    pub begins_session: bool,
}

/// How it went.
#[derive(Debug)]
pub struct Report {
    /// Whether the client was found gone.
    pub lost: bool,
    /// Why the end could not be written; the answer's row is still open then.
    pub unfinished: Option<Error>,
}

/// Writes answers.
#[derive(Debug)]
pub struct Engine<'a, K, M, R, J> {
    /// Where frames go.
    pub sink: &'a K,
    /// The model.
    pub model: &'a M,
    /// The search.
    pub retriever: &'a R,
    /// Rows and counters.
    pub journal: &'a J,
    /// The deployment.
    pub settings: &'a Settings,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// An answer being written.
#[derive(Debug, Default)]
struct Draft(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    text: String,
    sources: Vec<Source>,
    refused: bool,
    /// Whether the model was called.
    asked: bool,
    /// What is known to have been used.
    usage: Usage,
    /// Tokens of the prompt of the call that runs, by our own count.
    running_call: Option<u64>,
    embedding: Duration,
    model_wait: Duration,
    first_token: Option<Duration>,
}

impl Draft {
    fn with<T>(&self, action: impl FnOnce(&mut Content) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Content {
    /// What was used so far; a call whose figures did not come is estimated by our own count.
    fn used(&self, model: &Model, counter: &dyn TokenCounter) -> Usage {
        let mut usage = Usage { requests: 1, ..self.usage };
        if let Some(tokens_in) = self.running_call {
            usage.tokens_in += tokens_in;
            usage.tokens_out += tokens(counter, &self.text);
        }
        usage.cost_micro_usd = model.cost_micro_usd(usage.tokens_in, usage.tokens_out);
        usage
    }

    /// Closes the running call with the service's own figures.
    fn settle(&mut self, counted: TokenUsage) {
        self.running_call = None;
        self.usage.tokens_in += counted.tokens_in;
        self.usage.tokens_out += counted.tokens_out;
    }
}

impl<K: Sink, M: ChatModel, R: Retriever, J: Journal> Engine<'_, K, M, R, J> {
    /// Writes one answer to its end, whatever that is, before the deadline.
    pub async fn run(&self, task: &Task, deadline: Instant) -> Report {
        let began = Instant::now();
        let outbox = Outbox::new(task.answer.answer_id);
        outbox.frame(Outbound::Start {
            session_id: task.answer.session_id,
            answer_id: task.answer.answer_id,
            client_message_id: task.client_message_id.clone(),
        });
        let draft = Draft::default();
        let work = async {
            let result = tokio::select! {
                written = timeout_at(deadline, self.write(task, &draft, &outbox, began, deadline)) => {
                    written.unwrap_or_else(|_| Err(answer_timeout()))
                }
                () = self.keep_saving(task, &draft) => Err(superseded()),
            };
            let unfinished = self.end(task, &draft, result, &outbox, began).await;
            outbox.close();
            unfinished
        };
        let (unfinished, sent) = tokio::join!(work, outbox.drive(self.sink));
        logs::note("frames", sent.frames);
        if let Some(first_delta) = sent.first_delta {
            let total = first_delta.saturating_duration_since(began);
            let elsewhere = draft.with(|draft| draft.embedding + draft.model_wait);
            logs::note("question_to_delta_ms", millis(total));
            // Our own share: without the embedding and the model's first word.
            logs::note("first_delta_ms", millis(total.saturating_sub(elsewhere)));
        }
        Report { lost: sent.lost, unfinished }
    }

    /// Ends an answer whose worker died in the middle of it. Its text is kept, its usage is what it saved last.
    pub async fn abandon(&self, answer: &Answer, client_message_id: Option<String>) -> Result<()> {
        let counter = self.settings.counter;
        let mut usage = Usage { requests: 1, ..answer.usage };
        usage.tokens_out = usage.tokens_out.max(tokens(counter, &answer.text));
        usage.cost_micro_usd = self.settings.model.cost_micro_usd(usage.tokens_in, usage.tokens_out);
        let error = Error::new(
            Kind::Unavailable,
            "interrupted",
            "The answer was interrupted; send the message again.",
        );
        let entry = self.entry(answer, &self.settings.model.id, Some(&error), Duration::ZERO, None);
        self.journal.record(answer, &entry, &usage).await?;
        let end = Finished {
            status: AnswerStatus::Failed,
            text: answer.text.clone(),
            refused: false,
            citations: Vec::new(),
            usage,
            model: self.settings.model.id.clone(),
            error_code: Some(error.code().to_owned()),
        };
        self.journal.finish(answer, &end).await?;
        // Nobody may be there to hear it.
        let _ = self.sink.send(&Outbound::error(&error, Some(answer.answer_id), client_message_id)).await;
        Ok(())
    }

    /// Saves once a second for as long as it is polled; ends when the answer is somebody else's.
    async fn keep_saving(&self, task: &Task, draft: &Draft) {
        let period = Duration::try_from(HEARTBEAT).unwrap_or(Duration::from_secs(1));
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (text, usage) = draft
                .with(|draft| (draft.text.clone(), draft.used(&self.settings.model, self.settings.counter)));
            match self.journal.save(&task.answer, &text, &usage).await {
                Ok(true) => {}
                Ok(false) => return,
                // The next second brings the next try.
                Err(error) => tracing::warn!(error = error.chain(), "the answer could not be saved"),
            }
        }
    }

    async fn write(
        &self,
        task: &Task,
        draft: &Draft,
        outbox: &Outbox,
        began: Instant,
        deadline: Instant,
    ) -> Result<()> {
        let answer = &task.answer;
        let language = rag::language(&answer.question);
        let earlier = if task.begins_session {
            Vec::new()
        } else {
            logs::timed("history_ms", self.journal.history(answer)).await?
        };
        // The question before may itself lean on the one before it ("And in 2023?").
        let mut questions = earlier.iter().rev().map(|answer| answer.question.as_str());
        let (last, second_last) = (questions.next(), questions.next());
        let previous = last.map(|last| rag::retrieval_query(last, second_last));
        let query = rag::retrieval_query(&answer.question, previous.as_deref()).into_owned();
        let hits = self.hits(task, &query, draft, deadline).await?;
        logs::note("hits", hits.len());
        if !rag::is_relevant(&query, &hits, self.settings.relevance_threshold) {
            let text = rag::refusal(language);
            draft.with(|draft| {
                text.clone_into(&mut draft.text);
                draft.refused = true;
            });
            outbox.text(text);
            return Ok(());
        }
        let (request, prompt_tokens) =
            logs::timed("prompt_ms", async { self.prompt(answer, language, &hits, earlier, draft) }).await;
        let citations = draft.with(|draft| rag::source_citations(&query, &draft.sources));
        outbox.frame(Outbound::Sources { answer_id: answer.answer_id, citations });
        self.ask(&request, prompt_tokens, draft, outbox, began, deadline).await
    }

    async fn hits(&self, task: &Task, query: &str, draft: &Draft, deadline: Instant) -> Result<Vec<Hit>> {
        let limit = deadline.min(Instant::now() + EMBED_LIMIT);
        let asked = Instant::now();
        let embedding = logs::timed("embed_ms", self.retriever.embed(query, limit.into_std())).await?;
        draft.with(|draft| {
            draft.embedding = asked.elapsed();
            draft.usage.tokens_embedded += embedding.tokens;
        });
        let wanted = u32::try_from(self.settings.top_k * HITS_PER_SOURCE).unwrap_or(u32::MAX);
        let request = SearchRequest {
            tenant_id: task.answer.tenant_id,
            text: query.to_owned(),
            vector: embedding.vector,
            limit: wanted,
            collections: None,
            documents: task.documents.clone(),
        };
        let search = repeated(SEARCH_ATTEMPTS, "searching again", || self.retriever.search(&request));
        logs::timed("search_ms", search).await.map_err(|error| match error.kind() {
            Kind::Unavailable | Kind::RateLimited => {
                let detail = "The search cannot answer just now; try again shortly.";
                Error::new(Kind::Unavailable, "search_unavailable", detail).with_source(error)
            }
            _ => error,
        })
    }

    /// The prompt and its length in tokens, by our own count. Its sources go into the draft.
    fn prompt(
        &self,
        answer: &Answer,
        language: rag::Language,
        hits: &[Hit],
        earlier: Vec<Answer>,
        draft: &Draft,
    ) -> (ChatRequest, u64) {
        let count = |text: &str| self.settings.counter.count(text);
        let room = self.settings.max_context_tokens.saturating_sub(count(&answer.question));
        let turns: Vec<Turn> = earlier
            .into_iter()
            .filter(|answer| answer.status == AnswerStatus::Complete && !answer.refused)
            .map(|answer| Turn { question: answer.question, answer: answer.text })
            .collect();
        let history = rag::history_within(&turns, room / HISTORY_SHARE, &count);
        let taken: usize = history.iter().map(|turn| count(&turn.question) + count(&turn.answer) + 8).sum();
        let bounds = Bounds { top_k: self.settings.top_k, max_tokens: room.saturating_sub(taken) };
        let sources = rag::select(hits, bounds, &count);
        let messages: Vec<Message> = rag::assemble(language, &answer.question, &sources, history)
            .into_iter()
            .map(|message| Message { role: role(message.role), content: message.content })
            .collect();
        // A message costs about four tokens besides its text.
        let tokens: usize = messages.iter().map(|message| count(&message.content) + 4).sum();
        let window = self.settings.model.context_tokens;
        let left = window.saturating_sub(u32::try_from(tokens).unwrap_or(u32::MAX)).max(256);
        logs::note("sources", sources.len());
        draft.with(|draft| draft.sources = sources);
        let model = self.settings.model.id.clone();
        let request =
            ChatRequest { model, messages, temperature: 0.1, max_tokens: MOST_ANSWER_TOKENS.min(left) };
        (request, u64::try_from(tokens).unwrap_or(u64::MAX))
    }

    /// Asks the model, and asks again where it fails in a passing way before its first word.
    async fn ask(
        &self,
        request: &ChatRequest,
        prompt_tokens: u64,
        draft: &Draft,
        outbox: &Outbox,
        began: Instant,
        deadline: Instant,
    ) -> Result<()> {
        let mut retries = 0;
        loop {
            logs::add("model_calls", 1);
            let asked = Instant::now();
            let Err(error) = self.stream(request, prompt_tokens, draft, outbox, began, deadline).await else {
                return Ok(());
            };
            let pause = error.retry_after().unwrap_or(FIRST_PAUSE * 2_u32.pow(retries));
            let spoke = draft.with(|draft| {
                // What this call used is estimated and kept, then the next one begins its own count.
                let used = draft.used(&self.settings.model, self.settings.counter);
                if draft.running_call.take().is_some() {
                    draft.usage.tokens_in = used.tokens_in;
                    draft.usage.tokens_out = used.tokens_out;
                }
                if draft.first_token.is_none() {
                    draft.model_wait += asked.elapsed() + pause;
                }
                draft.first_token.is_some()
            });
            if spoke
                || retries == MODEL_RETRIES
                || !error.kind().is_transient()
                || pause > LONGEST_RETRY_AFTER
            {
                return Err(error);
            }
            tracing::info!(code = error.code(), "asking the model again");
            sleep(pause).await;
            retries += 1;
        }
    }

    async fn stream(
        &self,
        request: &ChatRequest,
        prompt_tokens: u64,
        draft: &Draft,
        outbox: &Outbox,
        began: Instant,
        deadline: Instant,
    ) -> Result<()> {
        let asked = Instant::now();
        let mut stream = self.model.open(request, deadline.into_std()).await?;
        let known = draft.with(|draft| {
            draft.asked = true;
            draft.running_call = Some(prompt_tokens);
            draft.sources.len()
        });
        let mut marks = MarkFilter::new(u32::try_from(known).unwrap_or(u32::MAX));
        loop {
            let Ok(event) = timeout(STALL, stream.next()).await else { return Err(model_timeout()) };
            match event {
                Some(Ok(Event::Delta(text))) => {
                    let shown = marks.push(&text);
                    draft.with(|draft| {
                        if draft.first_token.is_none() {
                            draft.first_token = Some(began.elapsed());
                            draft.model_wait += asked.elapsed();
                            logs::note("model_first_token_ms", millis(asked.elapsed()));
                        }
                        draft.text.push_str(&shown);
                    });
                    outbox.text(&shown);
                }
                Some(Ok(Event::Done { finish_reason, usage })) => {
                    let shown = marks.finish();
                    let empty = draft.with(|draft| {
                        draft.text.push_str(&shown);
                        if let Some(counted) = usage {
                            draft.settle(counted);
                        }
                        draft.text.trim().is_empty()
                    });
                    outbox.text(&shown);
                    logs::note("finish_reason", finish_reason);
                    logs::note("model_ms", millis(asked.elapsed()));
                    return if empty { Err(model_silent()) } else { Ok(()) };
                }
                Some(Err(error)) => return Err(error),
                // The client reports a cut as an error; a stream that just ends was cut as well.
                None => return Err(model_cut()),
            }
        }
    }

    /// Counts, writes the end and says so, in this order: who reads `end` finds usage and row as it says.
    async fn end(
        &self,
        task: &Task,
        draft: &Draft,
        result: Result<()>,
        outbox: &Outbox,
        began: Instant,
    ) -> Option<Error> {
        let (settings, answer) = (self.settings, &task.answer);
        let (end, first_token) = draft.with(|draft| {
            let citations = rag::cite(&draft.text, &answer.question, &draft.sources);
            let end = Finished {
                status: if result.is_ok() { AnswerStatus::Complete } else { AnswerStatus::Failed },
                // The prompt asks for a mark after every statement: a whole answer without one says that the sources do
                // not tell, and is a refusal like ours.
                refused: draft.refused || (result.is_ok() && citations.is_empty()),
                citations,
                text: draft.text.clone(),
                usage: draft.used(&settings.model, settings.counter),
                model: if draft.asked { settings.model.id.clone() } else { String::new() },
                error_code: result.as_ref().err().map(|error| error.code().to_owned()),
            };
            (end, draft.first_token)
        });
        if let Err(error) = &result {
            logs::error(error);
        }
        logs::note("answer_status", if result.is_ok() { "complete" } else { "failed" });
        logs::note("refused", end.refused);
        logs::note("model", end.model.clone());
        logs::note("tokens_in", end.usage.tokens_in);
        logs::note("tokens_out", end.usage.tokens_out);
        logs::note("tokens_embedded", end.usage.tokens_embedded);
        let entry = self.entry(answer, &end.model, result.as_ref().err(), began.elapsed(), first_token);
        let record =
            repeated(WRITE_ATTEMPTS, "recording again", || self.journal.record(answer, &entry, &end.usage));
        if let Err(error) = logs::timed("usage_ms", record).await {
            // All figures stand in the summary line: they can be entered later.
            tracing::error!(error = error.chain(), "usage was not recorded");
        }
        let finish = repeated(WRITE_ATTEMPTS, "ending again", || self.journal.finish(answer, &end));
        let unfinished = match logs::timed("finish_ms", finish).await {
            Ok(true) => None,
            // Somebody else ended it and says so.
            Ok(false) => return None,
            Err(error) => Some(error),
        };
        let failure = result
            .err()
            .as_ref()
            .or(unfinished.as_ref())
            .map(|error| Outbound::error(error, Some(answer.answer_id), task.client_message_id.clone()));
        outbox.frame(failure.unwrap_or(Outbound::End {
            session_id: answer.session_id,
            answer_id: answer.answer_id,
            usage: end.usage,
            citations: end.citations,
            model: end.model,
            refused: end.refused,
        }));
        unfinished
    }

    fn entry(
        &self,
        answer: &Answer,
        model: &str,
        error: Option<&Error>,
        latency: Duration,
        first_token: Option<Duration>,
    ) -> LogEntry {
        LogEntry {
            answer_id: answer.answer_id,
            attempt: answer.attempt,
            model: model.to_owned(),
            latency_ms: millis(latency),
            first_token_ms: first_token.map(millis),
            success: error.is_none(),
            error_code: error.map(|error| error.code().to_owned()),
            at: self.clock.now(),
        }
    }
}

/// Repeats what failed in a passing way, with growing pauses.
async fn repeated<T, F: Future<Output = Result<T>>>(
    attempts: u32,
    what: &'static str,
    action: impl Fn() -> F,
) -> Result<T> {
    let mut attempt = 1;
    loop {
        match action().await {
            Err(error) if error.kind().is_transient() && attempt < attempts => {
                tracing::info!(error = error.chain(), what);
                sleep(FIRST_PAUSE * 2_u32.pow(attempt - 1)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn answer_timeout() -> Error {
    Error::new(Kind::Unavailable, "answer_timeout", "The answer took too long; ask for less at a time.")
}

fn model_timeout() -> Error {
    Error::new(Kind::Unavailable, "model_timeout", "The model fell silent; try again.")
}

fn model_cut() -> Error {
    Error::new(Kind::Unavailable, "model_stream_cut", "The model's answer broke off; try again.")
}

fn model_silent() -> Error {
    Error::new(Kind::Unavailable, "model_empty", "The model gave no answer; try again.")
}

fn superseded() -> Error {
    Error::new(Kind::Unavailable, "interrupted", "The answer was interrupted; send the message again.")
}

const fn role(role: rag::Role) -> Role {
    match role {
        rag::Role::System => Role::System,
        rag::Role::User => Role::User,
        rag::Role::Assistant => Role::Assistant,
    }
}

fn tokens(counter: &dyn TokenCounter, text: &str) -> u64 {
    u64::try_from(counter.count(text)).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
