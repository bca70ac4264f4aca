//! Faults that a test switches on: `PUT /_faults` with one fault or a list of them, `DELETE /_faults` to end all.
//!
//! A `PUT` replaces the faults of the routes that it names; several of one route are used up in their order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Shared, error::ApiError};

/// The route that misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultRoute {
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/chat/completions`.
    Chat,
}

/// What goes wrong. "After k tokens" holds for streams; other answers misbehave as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// 429 in the usual shape, with Retry-After when `retry_after_seconds` is given.
    RateLimited,
    /// 500 in the usual shape.
    #[serde(rename = "error_500")]
    Error500,
    /// A proxy's HTML page instead of JSON; its status is `status`, 502 unless given.
    HtmlBody,
    /// `delay_ms` (3000 unless given) before the answer, or, with `after_tokens`, within the stream.
    Slow,
    /// Sends nothing more after k tokens, or nothing at all, and keeps the connection open.
    Stall,
    /// A stream ends cleanly after k tokens without `finish_reason`; another answer breaks off in its body.
    Cut,
    /// A stream carries an error object after k tokens and ends; another answer is a 500.
    ErrorEvent,
    /// A stream carries data that is no JSON after k tokens and ends; another answer is such data with status 200.
    Garbage,
}

/// One switchable fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where.
    pub route: FaultRoute,
    /// What.
    pub kind: FaultKind,
    /// How many calls it hits; until cleared when absent.
    #[serde(default)]
    pub times: Option<u64>,
    /// Tokens of a stream that arrive unharmed before.
    #[serde(default)]
    pub after_tokens: Option<usize>,
    /// Value of the Retry-After header of a 429.
    #[serde(default)]
    pub retry_after_seconds: Option<u64>,
    /// Milliseconds that a slow answer takes.
    #[serde(default)]
    pub delay_ms: Option<u64>,
    /// Chance of each call to be hit, 0 to 1; every call when absent. The sequence is the same after every `PUT`.
    #[serde(default)]
    pub probability: Option<f64>,
    /// Status of an HTML page.
    #[serde(default)]
    pub status: Option<u16>,
}

impl Fault {
    /// A fault of a kind on a route, on every call until cleared.
    #[must_use]
    pub fn new(route: FaultRoute, kind: FaultKind) -> Self {
        Self {
            route,
            kind,
            times: None,
            after_tokens: None,
            retry_after_seconds: None,
            delay_ms: None,
            probability: None,
            status: None,
        }
    }

    /// The same fault on the next `times` calls only.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The same fault after `tokens` tokens of a stream.
    #[must_use]
    pub fn after_tokens(self, tokens: usize) -> Self {
        Self { after_tokens: Some(tokens), ..self }
    }

    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.unwrap_or(3000))
    }

    /// The answer of a fault that strikes before anything is computed; `None` for the others.
    pub(crate) fn early_response(&self) -> Option<Response> {
        match self.kind {
            FaultKind::RateLimited => {
                let mut response = ApiError::rate_limited().into_response();
                if let Some(seconds) = self.retry_after_seconds {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                Some(response)
            }
            FaultKind::Error500 => Some(ApiError::server("A fault that a test switched on.").into_response()),
            FaultKind::HtmlBody => {
                let status = self.status.and_then(|status| StatusCode::from_u16(status).ok());
                let page = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>";
                Some((status.unwrap_or(StatusCode::BAD_GATEWAY), Html(page)).into_response())
            }
            _ => None,
        }
    }

    /// The answer of a fault on a route or call that does not stream, where `text` would have been the body.
    pub(crate) async fn whole_response(&self, shared: &Shared, text: String) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json")];
        match self.kind {
            FaultKind::Stall => {
                shared.stopped().await;
                ApiError::server("stopped").into_response()
            }
            FaultKind::Cut => (json, super::broken_body(&text)).into_response(),
            FaultKind::ErrorEvent => ApiError::server("A fault that a test switched on.").into_response(),
            FaultKind::Garbage => (json, "{\"object\": \"list\", \"data\": [{").into_response(),
            FaultKind::RateLimited | FaultKind::Error500 | FaultKind::HtmlBody | FaultKind::Slow => {
                (json, text).into_response()
            }
        }
    }
}

#[derive(Debug)]
struct Active {
    queue: VecDeque<Fault>,
    random: u64,
}

impl Default for Active {
    fn default() -> Self {
        Self { queue: VecDeque::new(), random: SEED }
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Active>);

impl Faults {
    fn lock(&self) -> std::sync::MutexGuard<'_, Active> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn replace(&self, faults: Vec<Fault>) {
        let mut active = self.lock();
        active.random = SEED;
        active.queue.retain(|old| faults.iter().all(|new| new.route != old.route));
        active.queue.extend(faults);
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Active::default();
    }

    fn list(&self) -> Vec<Fault> {
        self.lock().queue.iter().cloned().collect()
    }

    /// The fault that hits this call; it is used up by that.
    pub(crate) fn strike(&self, route: FaultRoute) -> Option<Fault> {
        let mut active = self.lock();
        let index = active.queue.iter().position(|fault| fault.route == route)?;
        let probability = active.queue.get(index)?.probability.unwrap_or(1.0);
        if probability < 1.0 {
            // Xorshift (Marsaglia 2003): the same sequence for every run of a test.
            active.random ^= active.random << 13;
            active.random ^= active.random >> 7;
            active.random ^= active.random << 17;
            let drawn = u32::try_from(active.random >> 32).unwrap_or(u32::MAX);
            if f64::from(drawn) / f64::from(u32::MAX) >= probability {
                return None;
            }
        }
        let fault = active.queue.get_mut(index)?;
        let struck = fault.clone();
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                active.queue.remove(index);
            }
        }
        Some(struck)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<Value>),
    One(Value),
}

pub(super) async fn set(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let parsed = serde_json::from_slice::<OneOrMany>(&body).and_then(|given| {
        let values = match given {
            OneOrMany::Many(values) => values,
            OneOrMany::One(value) => vec![value],
        };
        values.into_iter().map(serde_json::from_value).collect::<Result<Vec<Fault>, _>>()
    });
    match parsed {
        Ok(faults) => {
            // A fault of no calls would never be used up.
            shared.faults.replace(faults.into_iter().filter(|fault| fault.times != Some(0)).collect());
            show(State(shared)).await.into_response()
        }
        Err(error) => ApiError::invalid(None, format!("not a fault: {error}")).into_response(),
    }
}

pub(super) async fn clear(State(shared): State<Arc<Shared>>) -> Json<Value> {
    shared.faults.clear();
    show(State(shared)).await
}

pub(super) async fn show(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({"faults": shared.faults.list()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_used_up_in_order_and_per_route() {
        let faults = Faults::default();
        let on = |kind| Fault::new(FaultRoute::Chat, kind);
        faults.replace(vec![on(FaultKind::RateLimited).times(2), on(FaultKind::Cut).times(1)]);
        faults.replace(vec![Fault::new(FaultRoute::Embeddings, FaultKind::Slow)]);
        let kinds: Vec<_> = (0..4).map(|_| faults.strike(FaultRoute::Chat).map(|fault| fault.kind)).collect();
        assert_eq!(
            kinds,
            [Some(FaultKind::RateLimited), Some(FaultKind::RateLimited), Some(FaultKind::Cut), None]
        );
        assert!(faults.strike(FaultRoute::Embeddings).is_some());
        faults.clear();
        assert!(faults.strike(FaultRoute::Embeddings).is_none());
    }

    #[test]
    fn chance_is_near_its_value_and_repeatable() {
        let faults = Faults::default();
        let fault = Fault { probability: Some(0.25), ..Fault::new(FaultRoute::Chat, FaultKind::Cut) };
        let run = || {
            faults.replace(vec![fault.clone()]);
            (0..1000).map(|_| faults.strike(FaultRoute::Chat).is_some()).collect::<Vec<_>>()
        };
        let first = run();
        let hits = first.iter().filter(|&&hit| hit).count();
        assert!((200..300).contains(&hits), "{hits}");
        assert_eq!(first, run());
    }

    #[test]
    fn the_json_of_a_fault_is_the_documented_one() {
        let text = r#"{"route":"embeddings","kind":"error_500","times":2,"retry_after_seconds":3}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(
            (fault.kind, fault.times, fault.retry_after_seconds),
            (FaultKind::Error500, Some(2), Some(3))
        );
        assert!(serde_json::from_str::<Fault>(r#"{"route":"chat","kind":"cut","tmes":1}"#).is_err());
    }
}
