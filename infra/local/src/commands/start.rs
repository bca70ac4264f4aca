//! `cargo local`: start and stay.

use docuchat_local::{Home, Problem, Result, Running, Stack, StackOptions, tenant::DEMO_TENANT};
use tokio::signal::unix::{SignalKind, signal};

/// Starts the stack and stays until Ctrl-C, `cargo local down`, or the end of one of its parts.
pub(super) async fn run(home: &Home, options: StackOptions) -> Result<()> {
    let report = options.report;
    let mut stop = StopSignals::new()?;
    let mut stack = tokio::select! {
        stack = Stack::start(home, options) => stack?,
        // What was started receives its gentle signal when this process ends.
        () = stop.received() => return Err(Problem::new("Interrupted before the stack was up")),
    };
    show(stack.running());
    report.note("Ctrl-C stops everything; the data stays.");
    let outcome = tokio::select! {
        () = stop.received() => Ok(()),
        problem = stack.watch() => Err(problem),
    };
    report.note("Stopping ...");
    stack.stop().await;
    outcome
}

/// The addresses, on standard output.
pub(super) fn show(running: &Running) {
    println!("REST API       {}", running.rest_url);
    println!("WebSocket API  {}", running.websocket_url);
    println!("Mailbox        {}", running.mailbox_url);
    println!("All addresses  {}/_local/", running.rest_url);
    println!("Demo tenant    {DEMO_TENANT}");
    println!("AWS endpoint   {}", running.emulator_url);
    println!("Logs           {}", running.logs.display());
}

/// Ctrl-C, and the signal of `cargo local down` or of a service manager.
pub(super) struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl StopSignals {
    pub(super) fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| Problem::new(format!("Could not listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
