//! How large each function is, how soon after its start it asks for work, and what it then holds in memory.
//!
//! A function is started as Lambda starts it: with its deployed environment and the address of a Runtime API, here a stub
//! that notes when the first poll comes and never answers it.

use super::{heading, median, ms};
use axum::{Router, routing::any};
use docuchat_local::{Home, Problem, Result, Running, cloud::Cloud};
use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, process::Command, sync::mpsc};

/// The promise: first poll within this time, in at most this much memory.
const POLL_LIMIT: Duration = Duration::from_millis(15);
const MEMORY_LIMIT_MB: f64 = 25.0;
const PACKAGE_LIMIT_MB: f64 = 8.0;

pub(super) async fn measure(home: &Home, running: &Running, runs: usize, release: bool) -> Result<()> {
    let cloud = Cloud::new(&running.emulator_url);
    let home = home.clone();
    let profiles: &[bool] = if release { &[false, true] } else { &[false] };
    for &release in profiles {
        let builder = home.clone();
        let build = if release { docuchat_local::build_release } else { docuchat_local::build };
        let binaries = tokio::task::spawn_blocking(move || build(&builder))
            .await
            .map_err(|_| Problem::new("The build was broken off"))??;
        let profile = if release { "release profile, as deployed" } else { "dev profile, as run locally" };
        heading(&format!(
            "Functions ({profile}): start to first poll (limit {} ms) and memory (limit {MEMORY_LIMIT_MB} MB)",
            POLL_LIMIT.as_millis()
        ));
        println!(
            "  {:<20} {:>9} {:>9} {:>10} {:>10}",
            "function", "binary MB", "zip MB", "poll ms", "memory MB"
        );
        for (name, binary) in &binaries {
            let Ok(function) = running.function(name) else { continue };
            let environment = cloud.environment_of(function).await?;
            let (poll, memory_mb) = start(binary, function, &environment, running, runs).await?;
            let package_mb = megabytes(docuchat_local::zipped_size(binary)?);
            let too_much = poll > POLL_LIMIT
                || memory_mb > MEMORY_LIMIT_MB
                || (release && package_mb > PACKAGE_LIMIT_MB);
            let size_mb = std::fs::metadata(binary).map_or(0.0, |file| megabytes(file.len()));
            let mark = if too_much { "  over the limit" } else { "" };
            println!(
                "  {name:<20} {size_mb:>9.1} {package_mb:>9.1} {:>10} {memory_mb:>10.1}{mark}",
                ms(poll)
            );
        }
    }
    Ok(())
}

/// The median time to the first poll, and the resident memory at that moment.
async fn start(
    binary: &Path,
    function: &str,
    environment: &HashMap<String, String>,
    running: &Running,
    runs: usize,
) -> Result<(Duration, f64)> {
    let failed =
        |error: std::io::Error| Problem::new(format!("{} cannot be measured: {error}", binary.display()));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?.to_string();
    let (polls, mut polled) = mpsc::unbounded_channel();
    let stub = Router::new().fallback(any(move || {
        let polls = polls.clone();
        async move {
            // The receiver outlives the stub.
            let _ = polls.send(Instant::now());
            std::future::pending::<()>().await;
        }
    }));
    let server = tokio::spawn(async move { axum::serve(listener, stub).await });
    let mut times = Vec::new();
    let mut memory_mb = 0.0;
    for _ in 0..runs {
        let began = Instant::now();
        let mut child = Command::new(binary)
            .env_clear()
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", &address)
            .env("AWS_LAMBDA_FUNCTION_NAME", function)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "bench")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_ENDPOINT_URL", &running.emulator_url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let poll = tokio::time::timeout(Duration::from_secs(20), polled.recv()).await.ok().flatten();
        let Some(poll) = poll else {
            return Err(Problem::new(format!("{function} never asked for work"))
                .remedy("Start it by hand to see why: it names a missing setting."));
        };
        times.push(poll - began);
        if let Some(mb) = child.id().and_then(resident_mb) {
            memory_mb = f64::max(memory_mb, mb);
        }
        child.kill().await.map_err(failed)?;
    }
    server.abort();
    Ok((median(&times), memory_mb))
}

#[expect(clippy::cast_precision_loss, reason = "sizes of programs are far below 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Resident memory of a process in MB; only Linux tells.
fn resident_mb(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}
