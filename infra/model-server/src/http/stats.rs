//! Counts of what was asked, for tests and benchmarks: `GET /_stats`, and `DELETE /_stats` to begin again.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::Shared;

/// Counts of one route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStats {
    /// Requests that arrived.
    pub calls: u64,
    /// Requests that a switched-on fault hit.
    pub faults: u64,
    /// Requests refused as invalid.
    pub refused: u64,
    /// Answers that were computed and handed over whole; a stream counts when its last byte was taken.
    pub completed: u64,
    /// Inputs embedded (embeddings only), repeated ones among them.
    pub texts: u64,
    /// Inputs for the passage model that had been embedded since the last reset: paid twice.
    pub repeated_passages: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written (chat only): those handed to the connection.
    pub completion_tokens: u64,
    /// Requests under way now.
    pub in_flight: u64,
    /// The most requests that were under way at once.
    pub max_in_flight: u64,
}

/// Counts of both routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// `POST /v1/embeddings`.
    pub embeddings: RouteStats,
    /// `POST /v1/chat/completions`.
    pub chat: RouteStats,
}

#[derive(Debug, Default)]
struct Ledger {
    stats: Stats,
    passages: HashSet<u64>,
}

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Ledger>);

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Route {
    Embeddings,
    Chat,
}

impl Counters {
    /// Changes the counts of a route.
    pub(crate) fn update(&self, route: Route, change: impl FnOnce(&mut RouteStats)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(match route {
            Route::Embeddings => &mut state.stats.embeddings,
            Route::Chat => &mut state.stats.chat,
        });
    }

    /// Notes passages that were embedded, by hash.
    pub(crate) fn passages(&self, texts: &[String]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for text in texts {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            if !state.passages.insert(hasher.finish()) {
                state.stats.embeddings.repeated_passages += 1;
            }
        }
    }

    /// A copy of the counts.
    pub(crate) fn read(&self) -> Stats {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stats.clone()
    }

    /// Sets all counts to zero, except the requests under way.
    pub(crate) fn reset(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Ledger { stats: Stats { embeddings, chat }, passages } = &mut *state;
        passages.clear();
        for stats in [embeddings, chat] {
            let in_flight = stats.in_flight;
            *stats = RouteStats { in_flight, max_in_flight: in_flight, ..RouteStats::default() };
        }
    }

    /// Counts a request as under way until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, route: Route) -> InFlight {
        self.update(route, |stats| {
            stats.calls += 1;
            stats.in_flight += 1;
            stats.max_in_flight = stats.max_in_flight.max(stats.in_flight);
        });
        InFlight { counters: Arc::clone(self), route }
    }
}

/// A request under way. A stream holds it until its end or until the client leaves.
#[derive(Debug)]
pub(crate) struct InFlight {
    counters: Arc<Counters>,
    route: Route,
}

impl InFlight {
    pub(crate) fn update(&self, change: impl FnOnce(&mut RouteStats)) {
        self.counters.update(self.route, change);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.update(|stats| stats.in_flight = stats.in_flight.saturating_sub(1));
    }
}

pub(super) async fn show(State(shared): State<Arc<Shared>>) -> Json<Stats> {
    Json(shared.stats.read())
}

pub(super) async fn reset(State(shared): State<Arc<Shared>>) -> Json<Stats> {
    shared.stats.reset();
    Json(shared.stats.read())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrency_is_seen_and_survives_a_reset() {
        let counters = Arc::new(Counters::default());
        let first = counters.enter(Route::Chat);
        let second = counters.enter(Route::Chat);
        drop(first);
        assert_eq!((counters.read().chat.in_flight, counters.read().chat.max_in_flight), (1, 2));
        counters.reset();
        assert_eq!((counters.read().chat.calls, counters.read().chat.max_in_flight), (0, 1));
        drop(second);
        assert_eq!(counters.read().chat.in_flight, 0);
    }

    #[test]
    fn a_passage_embedded_twice_is_told() {
        let counters = Counters::default();
        counters.passages(&["a".to_owned(), "b".to_owned()]);
        counters.passages(&["b".to_owned()]);
        assert_eq!(counters.read().embeddings.repeated_passages, 1);
    }
}
