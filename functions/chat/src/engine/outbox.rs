//! Frames on their way to the client.
//!
//! The answer is written at the model's pace and posted at the gateway's. One post per token would use up the account's
//! 10,000 requests a second at about 125 answers, so text is gathered: the first piece leaves at once, then one every
//! 60 ms, or sooner when 1 KB has come together. One post is in flight at a time, which keeps the order; what comes in
//! meanwhile goes with the next.

use super::ports::Sink;
use docuchat_aws::connections::Delivery;
use docuchat_domain::{AnswerId, frame::Outbound};
use docuchat_kit::logs;
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

/// The time between two deltas.
const PACE: Duration = Duration::from_millis(60);

/// Text of this many bytes does not wait for the pace.
const ENOUGH_BYTES: usize = 1024;

/// The most text of one frame, in bytes of JSON: half of what the gateway takes, so that it fits with everything around.
const MOST_JSON_BYTES: usize = 16 * 1024;

/// The first pause after a post that failed; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After failing for so long the client counts as lost. The answer goes on and is kept.
const GIVE_UP: Duration = Duration::from_secs(15);

/// Frames of one answer, from the engine to its sink.
#[derive(Debug)]
pub struct Outbox {
    answer_id: AnswerId,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Frames before the text.
    before: VecDeque<Outbound>,
    /// Text that was not delivered yet.
    text: String,
    /// Characters delivered.
    offset: usize,
    /// Whether any text came in: frames from then on go after it.
    has_text: bool,
    after: VecDeque<Outbound>,
    closed: bool,
}

/// What became of the frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Whether the client was found gone, or could not be reached for long.
    pub lost: bool,
    /// Frames delivered.
    pub frames: u64,
    /// When the first text was handed to the sink.
    pub first_delta: Option<Instant>,
}

enum Next {
    Frame(Outbound),
    Delta { frame: Outbound, chars: usize, bytes: usize },
    Wait(Option<Instant>),
    Nothing,
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub fn new(answer_id: AnswerId) -> Self {
        Self { answer_id, state: Mutex::default(), changed: Notify::new() }
    }

    /// Adds a frame, which leaves at its turn.
    pub fn frame(&self, frame: Outbound) {
        let mut state = self.state();
        if state.has_text {
            state.after.push_back(frame);
        } else {
            state.before.push_back(frame);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Adds text to the answer.
    pub fn text(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut state = self.state();
        state.text.push_str(text);
        state.has_text = true;
        drop(state);
        self.changed.notify_one();
    }

    /// Says that nothing more will come.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// Delivers everything up to [`Outbox::close`]; returns earlier only when the client is lost.
    pub async fn drive<S: Sink>(&self, sink: &S) -> Sent {
        let mut sent = Sent::default();
        // When the next delta may leave.
        let mut due = Instant::now();
        let mut failing: Option<(Instant, Duration)> = None;
        loop {
            let next = self.next(due);
            let (frame, chars, bytes) = match next {
                Next::Nothing => return sent,
                Next::Wait(None) => {
                    self.changed.notified().await;
                    continue;
                }
                Next::Wait(Some(until)) => {
                    tokio::select! {
                        () = sleep_until(until) => {}
                        () = self.changed.notified() => {}
                    }
                    continue;
                }
                Next::Frame(frame) => (frame, 0, 0),
                Next::Delta { frame, chars, bytes } => {
                    sent.first_delta.get_or_insert_with(Instant::now);
                    due = Instant::now() + PACE;
                    (frame, chars, bytes)
                }
            };
            match sink.send(&frame).await {
                Ok(Delivery::Sent) => {
                    failing = None;
                    sent.frames += 1;
                    self.delivered(chars, bytes);
                }
                Ok(Delivery::Gone) => {
                    logs::note("client_gone", true);
                    sent.lost = true;
                    return sent;
                }
                Err(error) => {
                    let (since, pause) = failing.unwrap_or((Instant::now(), FIRST_PAUSE));
                    logs::add("post_retries", 1);
                    if !error.kind().is_transient() || since.elapsed() >= GIVE_UP {
                        tracing::warn!(error = error.chain(), "the client is given up");
                        sent.lost = true;
                        return sent;
                    }
                    sleep(pause).await;
                    // The text stays where it is: the next try takes along what has come in since.
                    failing = Some((since, (pause * 2).min(LONGEST_PAUSE)));
                }
            }
        }
    }

    fn next(&self, due: Instant) -> Next {
        let state = self.state();
        if let Some(frame) = state.before.front() {
            return Next::Frame(frame.clone());
        }
        if !state.text.is_empty() {
            let pressing = state.text.len() >= ENOUGH_BYTES || state.closed || !state.after.is_empty();
            if !pressing && Instant::now() < due {
                return Next::Wait(Some(due));
            }
            let token = head(&state.text);
            let (chars, bytes) = (token.chars().count(), token.len());
            let token = token.to_owned();
            let frame = Outbound::Delta { answer_id: self.answer_id, offset: state.offset, token };
            return Next::Delta { frame, chars, bytes };
        }
        match state.after.front() {
            Some(frame) => Next::Frame(frame.clone()),
            None if state.closed => Next::Nothing,
            None => Next::Wait(None),
        }
    }

    fn delivered(&self, chars: usize, bytes: usize) {
        let mut state = self.state();
        if bytes > 0 {
            state.text.drain(..bytes);
            state.offset += chars;
        } else if state.before.pop_front().is_none() {
            state.after.pop_front();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a text that fits into a frame, whole characters only.
fn head(text: &str) -> &str {
    let mut json_bytes = 0;
    for (at, letter) in text.char_indices() {
        json_bytes += match letter {
            '"' | '\\' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        if json_bytes > MOST_JSON_BYTES {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::FakeSink;
    use docuchat_domain::limits::MAX_FRAME_BYTES;
    use std::sync::atomic::Ordering;

    fn outbox() -> Outbox {
        Outbox::new("0199aaaa-0000-7000-8000-000000000001".parse().unwrap())
    }

    async fn sleep_ms(ms: u64) {
        sleep(Duration::from_millis(ms)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_piece_leaves_at_once_and_then_every_60_ms() {
        let (sink, outbox) = (FakeSink::default(), outbox());
        let write = async {
            for n in 0..100 {
                outbox.text(&format!("{}", n % 10));
                sleep_ms(10).await;
            }
            outbox.close();
        };
        let ((), sent) = tokio::join!(write, outbox.drive(&sink));
        assert_eq!(sink.text(), "0123456789".repeat(10));
        let posts = sink.deltas();
        assert_eq!(posts[0].1, "0");
        // A second of text at 10 ms a letter: one post at once and one every 60 ms.
        assert!((17..=19).contains(&posts.len()), "{}", posts.len());
        assert!(!sent.lost);
    }

    #[tokio::test(start_paused = true)]
    async fn much_text_does_not_wait_and_frames_stay_small() {
        let (sink, outbox) = (FakeSink::default(), outbox());
        let text = "\"گفت\" \u{1}".repeat(5000);
        let write = async {
            outbox.text("a");
            sleep_ms(1).await;
            outbox.text(&text);
            sleep_ms(1).await;
            assert_eq!(sink.text().chars().count(), 1 + text.chars().count());
            outbox.close();
        };
        tokio::join!(write, outbox.drive(&sink));
        assert_eq!(sink.text(), format!("a{text}"));
        assert!(sink.frames().iter().all(|frame| frame.to_json().len() <= MAX_FRAME_BYTES));
    }

    #[tokio::test(start_paused = true)]
    async fn one_post_is_in_flight_and_the_rest_gathers() {
        let sink = FakeSink::slow(200);
        let outbox = outbox();
        let write = async {
            for _ in 0..50 {
                outbox.text("x");
                sleep_ms(10).await;
            }
            outbox.close();
        };
        tokio::join!(write, outbox.drive(&sink));
        assert_eq!(sink.most_in_flight.load(Ordering::SeqCst), 1);
        let lengths: Vec<usize> = sink.deltas().iter().map(|(_, text)| text.len()).collect();
        assert_eq!(lengths.iter().sum::<usize>(), 50);
        assert!(lengths.len() <= 4, "{lengths:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_that_fails_is_merged_with_what_follows() {
        let sink = FakeSink::failing(3);
        let outbox = outbox();
        let write = async {
            outbox.text("one ");
            sleep_ms(30).await;
            outbox.text("two ");
            sleep_ms(3000).await;
            outbox.text("three");
            outbox.close();
        };
        let ((), sent) = tokio::join!(write, outbox.drive(&sink));
        assert!(!sent.lost);
        assert_eq!(sink.deltas(), [(0, "one two ".to_owned()), (8, "three".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_gone_or_fails_for_long_gets_no_more_posts() {
        for sink in [FakeSink::gone_after(1), FakeSink::failing(usize::MAX)] {
            let outbox = outbox();
            let write = async {
                for _ in 0..100 {
                    outbox.text("x");
                    sleep_ms(1000).await;
                }
                outbox.close();
            };
            let ((), sent) = tokio::join!(write, outbox.drive(&sink));
            assert!(sent.lost);
            assert!(sink.posts.load(Ordering::SeqCst) < 30);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_keep_their_place_around_the_text() {
        let (sink, outbox) = (FakeSink::default(), outbox());
        outbox.frame(Outbound::Pong);
        outbox.text("a");
        outbox.text("b");
        outbox.frame(Outbound::Pong);
        outbox.close();
        outbox.drive(&sink).await;
        let kinds: Vec<bool> = sink.frames().iter().map(|frame| matches!(frame, Outbound::Pong)).collect();
        assert_eq!(kinds, [true, false, true]);
    }
}
