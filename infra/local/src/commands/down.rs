//! `cargo local down`.

use docuchat_local::{Home, Result, Running, report::Report};

/// Stops the running stack and waits until it has saved its state.
pub(super) async fn run(home: &Home, name: &str) -> Result<()> {
    let report = Report::detect();
    let state = home.stack(name);
    let Some(running) = Running::find(&state)? else {
        report.note("Nothing is running.");
        return Ok(());
    };
    let step = report.step("Stopping the stack");
    running.stop(&state).await?;
    step.done();
    report.note("Stopped. The data stays; `cargo local` starts it again.");
    Ok(())
}
