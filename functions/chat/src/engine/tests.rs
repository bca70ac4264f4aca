use super::*;
use docuchat_aws::connections::Delivery;
use docuchat_domain::FixedClock;
use ports::Embedding;
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Remembers what it was sent; may be slow, fail at first or be gone.
#[derive(Debug, Default)]
pub(crate) struct FakeSink {
    sent: Mutex<Vec<Outbound>>,
    pub(crate) posts: AtomicUsize,
    in_flight: AtomicUsize,
    pub(crate) most_in_flight: AtomicUsize,
    takes_ms: u64,
    failures: usize,
    gone_after: Option<usize>,
}

impl FakeSink {
    pub(crate) fn failing(failures: usize) -> Self {
        Self { failures, ..Self::default() }
    }

    pub(crate) fn slow(takes_ms: u64) -> Self {
        Self { takes_ms, ..Self::default() }
    }

    pub(crate) fn gone_after(posts: usize) -> Self {
        Self { gone_after: Some(posts), ..Self::default() }
    }

    pub(crate) fn frames(&self) -> Vec<Outbound> {
        self.sent.lock().unwrap().clone()
    }

    pub(crate) fn deltas(&self) -> Vec<(usize, String)> {
        let delta = |frame| match frame {
            Outbound::Delta { offset, token, .. } => Some((offset, token)),
            _ => None,
        };
        self.frames().into_iter().filter_map(delta).collect()
    }

    /// The text as a client puts it together; every delta must begin where the text ends.
    pub(crate) fn text(&self) -> String {
        self.deltas().into_iter().fold(String::new(), |text, (offset, token)| {
            assert_eq!(text.chars().count(), offset);
            text + &token
        })
    }
}

impl Sink for FakeSink {
    async fn send(&self, frame: &Outbound) -> Result<Delivery> {
        let post = self.posts.fetch_add(1, Ordering::SeqCst);
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        if self.takes_ms > 0 {
            sleep(Duration::from_millis(self.takes_ms)).await;
        }
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.gone_after.is_some_and(|after| post >= after) {
            return Ok(Delivery::Gone);
        }
        if post < self.failures {
            return Err(Error::unavailable("posting", "throttled"));
        }
        self.sent.lock().unwrap().push(frame.clone());
        Ok(Delivery::Sent)
    }
}

/// One step of a scripted stream.
#[derive(Debug, Clone)]
enum Step {
    Say(&'static str),
    Wait(u64),
    Done(Option<TokenUsage>),
    Fail(Kind, &'static str),
}

use Step::{Done, Fail, Say, Wait};

/// What one call to the model does.
type Call = Result<Vec<Step>, (Kind, &'static str)>;

/// Plays one script per call.
#[derive(Debug, Default)]
struct FakeModel {
    scripts: Mutex<VecDeque<Call>>,
    requests: Mutex<Vec<ChatRequest>>,
}

impl FakeModel {
    fn saying(scripts: Vec<Call>) -> Self {
        Self { scripts: Mutex::new(scripts.into()), requests: Mutex::default() }
    }

    fn calls(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

#[derive(Debug)]
struct Script(VecDeque<Step>);

impl ChatModel for FakeModel {
    type Stream = Script;

    async fn open(&self, request: &ChatRequest, _: std::time::Instant) -> Result<Script> {
        self.requests.lock().unwrap().push(request.clone());
        let script = self.scripts.lock().unwrap().pop_front().expect("one call too many");
        script.map(|steps| Script(steps.into())).map_err(|(kind, code)| Error::new(kind, code, "no"))
    }
}

impl ChatStream for Script {
    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            match self.0.pop_front()? {
                Wait(ms) => sleep(Duration::from_millis(ms)).await,
                Say(text) => return Some(Ok(Event::Delta(text.into()))),
                Done(usage) => return Some(Ok(Event::Done { finish_reason: "stop".into(), usage })),
                Fail(kind, code) => return Some(Err(Error::new(kind, code, "no"))),
            }
        }
    }
}

#[derive(Debug, Default)]
struct FakeSearch {
    hits: Vec<Hit>,
    fails: Option<Kind>,
}

impl Retriever for FakeSearch {
    async fn embed(&self, _: &str, _: std::time::Instant) -> Result<Embedding> {
        Ok(Embedding { vector: vec![1.0], tokens: 7 })
    }

    async fn search(&self, _: &SearchRequest) -> Result<Vec<Hit>> {
        match self.fails {
            Some(kind) => Err(Error::new(kind, "broken", "no")),
            None => Ok(self.hits.clone()),
        }
    }
}

#[derive(Debug, Default)]
struct FakeJournal {
    history: Vec<Answer>,
    saves: Mutex<Vec<String>>,
    records: Mutex<Vec<(LogEntry, Usage)>>,
    ends: Mutex<Vec<Finished>>,
    taken_over: bool,
    finish_fails: bool,
}

impl Journal for FakeJournal {
    async fn history(&self, _: &Answer) -> Result<Vec<Answer>> {
        Ok(self.history.clone())
    }

    async fn save(&self, _: &Answer, text: &str, _: &Usage) -> Result<bool> {
        self.saves.lock().unwrap().push(text.to_owned());
        Ok(!self.taken_over)
    }

    async fn record(&self, _: &Answer, entry: &LogEntry, usage: &Usage) -> Result<()> {
        self.records.lock().unwrap().push((entry.clone(), *usage));
        Ok(())
    }

    async fn finish(&self, _: &Answer, end: &Finished) -> Result<bool> {
        if self.finish_fails {
            return Err(Error::unavailable("ending", "down"));
        }
        self.ends.lock().unwrap().push(end.clone());
        Ok(!self.taken_over)
    }
}

/// A word is a token.
#[derive(Debug)]
struct Words;

impl TokenCounter for Words {
    fn count(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn name(&self) -> &'static str {
        "words"
    }
}

const ID: &str = "0199aaaa-0000-7000-8000-000000000001";

fn answer(question: &str) -> Answer {
    Answer {
        tenant_id: ID.parse().unwrap(),
        user_id: ID.parse().unwrap(),
        session_id: ID.parse().unwrap(),
        answer_id: ID.parse().unwrap(),
        question: question.into(),
        text: String::new(),
        status: AnswerStatus::Running,
        refused: false,
        citations: Vec::new(),
        model: "m".into(),
        usage: Usage::default(),
        error_code: None,
        attempt: 1,
        connection_id: None,
        created_at: "2026-11-21T09:00:00Z".parse().unwrap(),
        updated_at: "2026-11-21T09:00:00Z".parse().unwrap(),
    }
}

fn hit(similarity: f64) -> Hit {
    Hit {
        document_id: ID.parse().unwrap(),
        title: "Lease.pdf".into(),
        generation: 1,
        ordinal: 0,
        page_start: 3,
        page_end: 3,
        page_breaks: Vec::new(),
        text: "The notice period is three months. Pets are allowed.".into(),
        tokens: 9,
        score: 0.1,
        similarity,
        vector_rank: Some(1),
        text_rank: None,
    }
}

struct Scene {
    sink: FakeSink,
    model: FakeModel,
    search: FakeSearch,
    journal: FakeJournal,
    question: &'static str,
    seconds: u64,
}

impl Scene {
    fn of(scripts: Vec<Call>) -> Self {
        Self {
            sink: FakeSink::default(),
            model: FakeModel::saying(scripts),
            search: FakeSearch { hits: vec![hit(0.9)], fails: None },
            journal: FakeJournal::default(),
            question: "What is the notice period?",
            seconds: 880,
        }
    }

    fn settings() -> Settings {
        Settings {
            model: Model {
                id: "m".into(),
                input_usd_per_million: 1.0,
                output_usd_per_million: 2.0,
                context_tokens: 8000,
            },
            top_k: 6,
            max_context_tokens: 4000,
            relevance_threshold: 0.8,
            counter: &Words,
        }
    }

    async fn play(&self) -> Report {
        let (settings, clock) = (Self::settings(), FixedClock::at("2026-11-21T09:30:00Z"));
        let engine = Engine {
            sink: &self.sink,
            model: &self.model,
            retriever: &self.search,
            journal: &self.journal,
            settings: &settings,
            clock: &clock,
        };
        let task = Task {
            answer: answer(self.question),
            client_message_id: Some("m-1".into()),
            documents: None,
            begins_session: self.journal.history.is_empty(),
        };
        engine.run(&task, Instant::now() + Duration::from_secs(self.seconds)).await
    }

    fn end(&self) -> Finished {
        self.journal.ends.lock().unwrap().last().cloned().expect("the answer was ended")
    }

    fn record(&self) -> (LogEntry, Usage) {
        let records = self.journal.records.lock().unwrap();
        assert_eq!(records.len(), 1, "usage is recorded once");
        records[0].clone()
    }

    /// The last frame must be an error with this code, and row and log must say the same.
    fn failed(&self, code: &str, retryable_expected: bool) {
        match self.sink.frames().last() {
            Some(Outbound::Error { code: sent, retryable, client_message_id, .. }) => {
                assert_eq!((sent.as_str(), *retryable), (code, retryable_expected));
                assert_eq!(client_message_id.as_deref(), Some("m-1"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((self.end().status, self.end().error_code.as_deref()), (AnswerStatus::Failed, Some(code)));
        assert_eq!(self.end().text, self.sink.text());
        let (entry, usage) = self.record();
        assert_eq!((entry.success, entry.error_code.as_deref()), (false, Some(code)));
        assert_eq!((usage.requests, usage.tokens_embedded), (1, 7));
    }
}

fn kinds(frames: &[Outbound]) -> Vec<&'static str> {
    let kind = |frame: &Outbound| match frame {
        Outbound::Start { .. } => "start",
        Outbound::Sources { .. } => "sources",
        Outbound::Delta { .. } => "delta",
        Outbound::End { .. } => "end",
        Outbound::Error { .. } => "error",
        Outbound::Pong | Outbound::Document { .. } => "other",
    };
    let mut kinds: Vec<_> = frames.iter().map(kind).collect();
    kinds.dedup();
    kinds
}

const COUNTED: TokenUsage = TokenUsage { tokens_in: 1000, tokens_out: 10 };

#[tokio::test(start_paused = true)]
async fn a_whole_answer() {
    let scene = Scene::of(vec![Ok(vec![
        Wait(400),
        Say("The notice"),
        Wait(20),
        Say(" period is three months ["),
        Wait(20),
        Say("1"),
        Say("], not four [9]."),
        Done(Some(COUNTED)),
    ])]);
    let report = scene.play().await;
    assert!(report.unfinished.is_none() && !report.lost);
    let text = "The notice period is three months [1], not four.";
    assert_eq!(scene.sink.text(), text);
    let frames = scene.sink.frames();
    assert_eq!(kinds(&frames), ["start", "sources", "delta", "end"]);
    let Some(Outbound::End { usage, citations, model, refused, .. }) = frames.last() else {
        panic!("no end")
    };
    assert_eq!((usage.tokens_in, usage.tokens_out, usage.cost_micro_usd), (1000, 10, 1020));
    assert_eq!((model.as_str(), *refused), ("m", false));
    assert_eq!(
        (citations[0].n, citations[0].page, citations[0].quote.as_str()),
        (1, 3, "The notice period is three months.")
    );
    let end = scene.end();
    assert_eq!(
        (end.status, end.text.as_str(), &end.citations, end.usage),
        (AnswerStatus::Complete, text, citations, *usage)
    );
    let (entry, recorded) = scene.record();
    assert_eq!((entry.success, entry.first_token_ms, recorded), (true, Some(400), *usage));
}

#[tokio::test(start_paused = true)]
async fn nothing_relevant_means_no_model_call() {
    let mut scene = Scene::of(vec![]);
    scene.search.hits = vec![hit(0.5)];
    scene.question = "قیمت طلا چقدر است؟";
    scene.play().await;
    assert_eq!(scene.model.calls(), 0);
    assert_eq!(scene.sink.text(), rag::refusal(rag::Language::Persian));
    assert_eq!(kinds(&scene.sink.frames()), ["start", "delta", "end"]);
    let end = scene.end();
    assert_eq!((end.status, end.refused, end.model.as_str()), (AnswerStatus::Complete, true, ""));
    let (entry, usage) = scene.record();
    assert!(entry.success && entry.model.is_empty());
    assert_eq!((usage.tokens_in, usage.tokens_embedded, usage.requests, usage.cost_micro_usd), (0, 7, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_first_word_is_tried_again() {
    let busy = Err((Kind::RateLimited, "model_busy"));
    let scene = Scene::of(vec![
        busy.clone(),
        Ok(vec![Fail(Kind::Unavailable, "model_stream_cut")]),
        Ok(vec![Say("Yes [1]."), Done(None)]),
    ]);
    scene.play().await;
    assert_eq!((scene.model.calls(), scene.sink.text().as_str()), (3, "Yes [1]."));
    assert_eq!(scene.end().status, AnswerStatus::Complete);
    // The service said nothing: both calls that it took are estimated.
    let prompt: usize =
        scene.model.requests.lock().unwrap()[0].messages.iter().map(|m| Words.count(&m.content) + 4).sum();
    assert_eq!((scene.record().1.tokens_in, scene.record().1.tokens_out), (2 * prompt as u64, 2));

    let scene = Scene::of(vec![busy.clone(), busy.clone(), busy]);
    scene.play().await;
    scene.failed("model_busy", true);
    assert_eq!(scene.record().1.tokens_in, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lasting_failure_is_not_tried_again() {
    let scene = Scene::of(vec![Err((Kind::Internal, "model_rejected"))]);
    scene.play().await;
    scene.failed("model_rejected", false);
    assert_eq!(scene.model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cut_stream_keeps_its_text() {
    for script in [
        vec![Say("The notice [1"), Wait(100)],
        vec![Say("The notice"), Fail(Kind::Unavailable, "model_stream_cut")],
    ] {
        let scene = Scene::of(vec![Ok(script)]);
        scene.play().await;
        scene.failed("model_stream_cut", true);
        assert_eq!(scene.end().text.trim(), "The notice");
        let (_, usage) = scene.record();
        assert!(usage.tokens_in > 50 && usage.tokens_out == 2, "{usage:?}");
        assert_eq!(scene.model.calls(), 1, "what was shown is not written a second time");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_and_the_deadline_end_an_answer() {
    let scene = Scene::of(vec![Ok(vec![Say("The notice"), Wait(40_000), Say(" never"), Done(None)])]);
    let began = Instant::now();
    scene.play().await;
    scene.failed("model_timeout", true);
    assert_eq!((scene.end().text.as_str(), began.elapsed().as_secs()), ("The notice", 30));
    // Saved every second, silence or not: readers tell a living worker from a dead one by that.
    assert!(scene.journal.saves.lock().unwrap().len() >= 29);

    let mut scene = Scene::of(vec![Ok((0..100).flat_map(|_| [Say("word "), Wait(1000)]).collect())]);
    scene.seconds = 10;
    scene.play().await;
    scene.failed("answer_timeout", true);
    assert!(scene.record().1.tokens_out >= 10);
}

#[tokio::test(start_paused = true)]
async fn a_search_that_is_down_fails_the_answer() {
    for (kind, code, retryable) in
        [(Kind::Unavailable, "search_unavailable", true), (Kind::Internal, "broken", false)]
    {
        let mut scene = Scene::of(vec![]);
        scene.search.fails = Some(kind);
        scene.play().await;
        scene.failed(code, retryable);
        assert_eq!(kinds(&scene.sink.frames()), ["start", "error"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_on_without_its_client() {
    let mut scene = Scene::of(vec![Ok(vec![
        Say("a "),
        Wait(500),
        Say("b "),
        Wait(500),
        Say("c [1]"),
        Done(Some(COUNTED)),
    ])]);
    scene.sink = FakeSink::gone_after(2);
    assert!(scene.play().await.lost);
    assert_eq!((scene.end().status, scene.end().text.as_str()), (AnswerStatus::Complete, "a b c [1]"));
    assert_eq!(scene.record().1.tokens_out, 10);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_another_worker_has_is_left_alone() {
    let mut scene = Scene::of(vec![Ok(vec![Say("a"), Wait(20_000), Done(None)])]);
    scene.journal.taken_over = true;
    scene.play().await;
    assert_eq!(kinds(&scene.sink.frames()), ["start", "sources", "delta"]);
    assert_eq!(scene.record().0.error_code.as_deref(), Some("interrupted"));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_written_is_reported() {
    let mut scene = Scene::of(vec![Ok(vec![Say("a [1]"), Done(Some(COUNTED))])]);
    scene.journal.finish_fails = true;
    let report = scene.play().await;
    assert!(report.unfinished.is_some());
    assert_eq!(kinds(&scene.sink.frames()), ["start", "sources", "delta", "error"]);
    assert_eq!(scene.record().1.tokens_out, 10);
}

#[tokio::test(start_paused = true)]
async fn follow_ups_know_what_was_said() {
    let mut scene = Scene::of(vec![Ok(vec![Say("Yes [1]."), Done(None)])]);
    let earlier =
        Answer { status: AnswerStatus::Complete, text: "Acme [2].".into(), ..answer("Who is the landlord?") };
    let failed = Answer { status: AnswerStatus::Failed, ..answer("And the tenant?") };
    scene.journal.history = vec![earlier, failed];
    scene.play().await;
    let requests = scene.model.requests.lock().unwrap();
    let messages: Vec<(Role, &str)> =
        requests[0].messages.iter().map(|m| (m.role, m.content.as_str())).collect();
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[1..3], [(Role::User, "Who is the landlord?"), (Role::Assistant, "Acme.")]);
    assert!(messages[3].1.ends_with("<question>\nWhat is the notice period?\n</question>"));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_answer_is_ended_and_counted() {
    let scene = Scene::of(vec![]);
    let (settings, clock) = (Scene::settings(), FixedClock::at("2026-11-21T09:30:00Z"));
    let engine = Engine {
        sink: &scene.sink,
        model: &scene.model,
        retriever: &scene.search,
        journal: &scene.journal,
        settings: &settings,
        clock: &clock,
    };
    let usage = Usage { tokens_in: 100, tokens_embedded: 7, ..Usage::default() };
    let answer = Answer { text: "half an answer".into(), usage, ..answer("What?") };
    engine.abandon(&answer, None).await.unwrap();
    let end = scene.end();
    assert_eq!((end.error_code.as_deref(), end.text.as_str()), (Some("interrupted"), "half an answer"));
    let (entry, usage) = scene.record();
    assert_eq!((entry.attempt, usage.tokens_in, usage.tokens_out, usage.cost_micro_usd), (1, 100, 3, 106));
}
