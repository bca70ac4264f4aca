//! `cargo local`: the stack on this machine.

mod commands;

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;
use docuchat_local::Problem;

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    let outcome = tokio::runtime::Runtime::new()
        .map_err(|error| Problem::new(format!("The runtime could not start: {error}")))
        .and_then(|runtime| {
            let outcome = runtime.block_on(arguments.run());
            // Interrupted in the middle of a download or a build: those threads are not waited for.
            runtime.shutdown_timeout(Duration::from_millis(100));
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
