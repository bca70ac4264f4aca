//! JSON lines on standard output: events by `tracing`, and one summary per invocation.
//!
//! Never logged: an e-mail address, a code, a token, a key, the text of a document, a question or an answer. Ids are.

use serde_json::{Map, Value};
use std::{cell::RefCell, future::Future, time::Instant};

tokio::task_local! {
    static SUMMARY: RefCell<Map<String, Value>>;
}

/// An invocation slower than this is marked `"slow": true` in its summary, in milliseconds.
const SLOW_MS: u128 = 1000;

/// Starts logging at the level of `LOG_LEVEL` (default `info`). Libraries that log payloads are kept at `warn`.
pub fn init() {
    let level =
        std::env::var("LOG_LEVEL").ok().filter(|level| !level.is_empty()).unwrap_or_else(|| "info".into());
    let quiet = "hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,aws_smithy_runtime=warn,aws_config=warn,aws_sdk_s3=warn,lambda_runtime=warn,lambda_http=warn,tokio_postgres=warn,lopdf=error";
    let filter = tracing_subscriber::EnvFilter::try_new(format!("{level},{quiet}"))
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("info,{quiet}")));
    // A second call (tests start several handlers in one process) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_env_filter(filter)
        .try_init();
}

/// Adds a field to the summary line of the running invocation; units belong in the name (`db_ms`, `tokens_in`).
/// Outside an invocation it does nothing.
pub fn note(field: &str, value: impl Into<Value>) {
    let value = value.into();
    let _ = SUMMARY.try_with(|summary| summary.borrow_mut().insert(field.to_owned(), value));
}

/// Adds to a numeric field of the summary line.
pub fn add(field: &str, amount: u64) {
    let _ = SUMMARY.try_with(|summary| {
        let mut summary = summary.borrow_mut();
        let before = summary.get(field).and_then(Value::as_u64).unwrap_or(0);
        summary.insert(field.to_owned(), Value::from(before + amount));
    });
}

/// Times a step: its milliseconds are added to a field of the summary line.
pub async fn timed<F: Future>(field: &str, step: F) -> F::Output {
    let began = Instant::now();
    let output = step.await;
    add(field, u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    output
}

/// Runs one invocation and prints its summary line, whatever its end.
pub async fn summarised<F: Future>(function: &str, request_id: &str, invocation: F) -> F::Output {
    let began = Instant::now();
    let mut fields = Map::new();
    fields.insert("message".into(), "summary".into());
    fields.insert("function".into(), function.into());
    fields.insert("request_id".into(), request_id.into());
    let (output, mut fields) = SUMMARY
        .scope(RefCell::new(fields), async {
            let output = invocation.await;
            (output, SUMMARY.with(RefCell::take))
        })
        .await;
    let millis = began.elapsed().as_millis();
    fields.insert("duration_ms".into(), u64::try_from(millis).unwrap_or(u64::MAX).into());
    if millis > SLOW_MS {
        fields.insert("slow".into(), true.into());
    }
    println!("{}", Value::Object(fields));
    output
}

/// Logs an error once, where it leaves the function: in full when it is ours or a dependency's, as a code when it is
/// the caller's.
pub fn error(error: &docuchat_domain::Error) {
    note("error_code", error.code());
    match error.kind() {
        docuchat_domain::Kind::Internal => tracing::error!(error = error.chain(), "failed"),
        docuchat_domain::Kind::Unavailable => tracing::warn!(error = error.chain(), "unavailable"),
        _ => tracing::debug!(error = error.chain(), "refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fields_gather_within_one_invocation_only() {
        summarised("f", "r", async {
            add("db_ms", 1);
            add("db_ms", 2);
            note("status", 200);
            SUMMARY.with(|s| {
                assert_eq!(s.borrow().get("db_ms"), Some(&Value::from(3)));
                assert_eq!(s.borrow().get("status"), Some(&Value::from(200)));
            });
        })
        .await;
        note("lost", 1);
        assert!(SUMMARY.try_with(|_| ()).is_err());
    }
}
