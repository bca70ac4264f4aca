//! `cargo local logs`.

use std::time::Duration;

use clap::Args;
use docuchat_local::{Home, Problem, Result, Running, logs::FunctionLog};

/// Options of `logs`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Name of a function, for example `ingest`. Without it, the log files and the functions are listed.
    function: Option<String>,
    /// Stay and print what is added.
    #[arg(long, short)]
    follow: bool,
}

pub(super) async fn run(home: &Home, name: &str, arguments: Arguments) -> Result<()> {
    let state = home.stack(name);
    let running = Running::find(&state)?;
    let Some(function) = arguments.function else {
        println!("Logs of the services:");
        for log in ["emulator", "postgres", "models"] {
            println!("  {}", state.join("logs").join(format!("{log}.log")).display());
        }
        if let Some(running) = running {
            println!("Functions (`cargo local logs NAME`):");
            for function in running.functions() {
                println!("  {function}");
            }
        }
        return Ok(());
    };
    let running = running.ok_or_else(|| {
        Problem::new("Nothing is running")
            .remedy("Start it with `cargo local`; the emulator holds the functions' logs.")
    })?;
    let deployed = running.function(&function).map_err(|_| {
        Problem::new(format!("There is no function {function}"))
            .remedy(format!("There are: {}.", running.functions().join(", ")))
    })?;
    let mut log = FunctionLog::of(&running, deployed)?;
    loop {
        for line in log.next().await? {
            println!("{line}");
        }
        if !arguments.follow {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
