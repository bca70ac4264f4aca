//! `cargo local reset`.

use std::io::{IsTerminal as _, Write as _, stdin};

use clap::Args;
use docuchat_local::{Home, Problem, Result, Running, report::Report};

/// Options of `reset`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

/// Stops the stack and deletes its data. Only a terminal is asked: a script that says `reset` means it.
pub(super) async fn run(home: &Home, name: &str, arguments: &Arguments) -> Result<()> {
    let report = Report::detect();
    let state = home.stack(name);
    if !arguments.yes && stdin().is_terminal() && !confirmed(&state.display().to_string())? {
        report.note("Nothing was deleted.");
        return Ok(());
    }
    if let Some(running) = Running::find(&state)? {
        let step = report.step("Stopping the stack");
        running.stop(&state).await?;
        step.done();
    }
    docuchat_local::delete_stack(home, name)?;
    report.note("Deleted. `cargo local` starts with an empty stack.");
    Ok(())
}

fn confirmed(place: &str) -> Result<bool> {
    eprint!("This deletes all documents, users and answers in {place}. Continue? [y/N] ");
    std::io::stderr().flush().map_err(|error| Problem::new(format!("The terminal is gone: {error}")))?;
    let mut line = String::new();
    stdin().read_line(&mut line).map_err(|error| Problem::new(format!("The terminal is gone: {error}")))?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}
