//! Times of stages, from the summary lines that functions log.

use docuchat_local::{FunctionLog, Result, Running};
use serde_json::{Map, Value};
use std::time::Duration;

/// The summary lines of a function since the last call.
pub(super) struct Summaries(FunctionLog);

impl Summaries {
    /// From now on.
    pub(super) async fn of(running: &Running, binary: &str) -> Result<Self> {
        let mut log = FunctionLog::of(running, running.function(binary)?)?;
        log.next().await?;
        Ok(Self(log))
    }

    /// What was logged meanwhile; waits a little, because a line appears only when its invocation has ended.
    pub(super) async fn next(&mut self) -> Result<Vec<Map<String, Value>>> {
        for _ in 0..30 {
            let lines = self.0.next().await?;
            let summaries: Vec<_> = lines
                .iter()
                .flat_map(|message| message.lines())
                .filter_map(|line| serde_json::from_str::<Map<String, Value>>(line.trim()).ok())
                .filter(|line| line.get("message").and_then(Value::as_str) == Some("summary"))
                .collect();
            if !summaries.is_empty() {
                return Ok(summaries);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Vec::new())
    }
}

/// A field of milliseconds of several summaries, as durations.
pub(super) fn field(summaries: &[Map<String, Value>], name: &str) -> Vec<Duration> {
    summaries.iter().filter_map(|line| line.get(name)?.as_u64()).map(Duration::from_millis).collect()
}

/// Every field of milliseconds that any of the summaries has, in alphabetical order.
pub(super) fn fields(summaries: &[Map<String, Value>]) -> Vec<String> {
    let mut names: Vec<String> =
        summaries.iter().flat_map(Map::keys).filter(|name| name.ends_with("_ms")).cloned().collect();
    names.sort();
    names.dedup();
    names
}
