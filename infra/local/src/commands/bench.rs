//! `cargo local bench`: measures what the product promises, and prints it beside the promise.
//!
//! Every figure is the median of several runs; these are figures of this machine at this moment, so compare only what one
//! run printed.

mod answers;
mod ingestion;
mod stages;
mod starts;

use clap::Args;
use docuchat_local::{Client, Home, Problem, Result, Running, Stack, StackOptions};
use std::time::Duration;

use super::start::StopSignals;

/// Options of `bench`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Runs per figure.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Also build the functions as they are deployed (release profile: minutes) and measure those.
    #[arg(long)]
    release: bool,
}

/// Measures on the running stack, or on one that is started for it and stopped afterwards.
pub(super) async fn run(home: &Home, options: StackOptions, arguments: Arguments) -> Result<()> {
    if let Some(running) = Running::find(&home.stack(&options.name))? {
        return measure(home, &running, &arguments).await;
    }
    let mut stop = StopSignals::new()?;
    let stack = Stack::start(home, options).await?;
    let outcome = tokio::select! {
        outcome = measure(home, stack.running(), &arguments) => outcome,
        () = stop.received() => Err(Problem::new("Interrupted")),
    };
    stack.stop().await;
    outcome
}

async fn measure(home: &Home, running: &Running, arguments: &Arguments) -> Result<()> {
    let runs = arguments.runs.max(1);
    starts::measure(home, running, runs, arguments.release).await?;
    let email = format!("bench-{}@docuchat.example", docuchat_local::short_id());
    let client = Client::of(running)?.sign_in(&email).await?;
    ingestion::measure(running, &client, runs).await?;
    answers::measure(running, &client, runs).await
}

/// The middle of some durations; zero of none.
fn median(values: &[Duration]) -> Duration {
    percentile(values, 50)
}

/// The value below which this many in a hundred lie (nearest rank).
fn percentile(values: &[Duration], percent: usize) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Milliseconds with one decimal.
fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

fn heading(text: &str) {
    println!("\n{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values: Vec<_> = (1..=20).rev().map(Duration::from_millis).collect();
        assert_eq!(median(&values), Duration::from_millis(10));
        assert_eq!(percentile(&values, 95), Duration::from_millis(19));
        assert_eq!(percentile(&values, 100), Duration::from_millis(20));
        assert_eq!(median(&[]), Duration::ZERO);
        assert_eq!(ms(Duration::from_micros(1250)), "1.2");
    }
}
