//! From the question to the first word, and searches alone.

use super::{heading, ingestion, median, ms, percentile, stages};
use docuchat_local::{Client, Result, Running, cloud::Cloud};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The promise on our own share of the time to the first word, warm.
const OWN_SHARE: Duration = Duration::from_millis(100);

pub(super) async fn measure(running: &Running, client: &Client, runs: usize) -> Result<()> {
    ingestion::seeded(client).await?;
    heading(&format!("Question to first delta, warm (our own share: target {} ms)", OWN_SHARE.as_millis()));
    let mut socket = client.connect().await?;
    let mut log = stages::Summaries::of(running, "chat-answer").await?;
    // The first answer starts the functions and is not counted.
    first_delta(&mut socket, 0).await?;
    log.next().await?;
    let mut firsts = Vec::new();
    let mut summaries = Vec::new();
    for run in 1..=runs {
        firsts.push(first_delta(&mut socket, run).await?);
        summaries.extend(log.next().await?);
    }
    socket.close().await;
    println!("  at the client         {:>9} ms", ms(median(&firsts)));
    for name in stages::fields(&summaries) {
        println!("      {name:<22} {:>9}", ms(median(&stages::field(&summaries, &name))));
    }
    // The function itself takes the model service's share (embedding, first word) out of this one.
    let own = median(&stages::field(&summaries, "first_delta_ms"));
    let mark = if own > OWN_SHARE { "  over the target" } else { "" };
    println!("  our own share         {:>9} ms{mark}", ms(own));
    searches(running).await
}

/// Asks, reads the whole answer, and gives the time to its first delta.
async fn first_delta(socket: &mut docuchat_local::Socket, run: usize) -> Result<Duration> {
    let began = Instant::now();
    let mut first = None;
    let question = format!("What does keeper number {} record?", 32 + run);
    socket
        .ask(&json!({ "message": question }), |frame| {
            if frame.get("type").and_then(Value::as_str) == Some("delta") {
                first.get_or_insert_with(|| began.elapsed());
            }
        })
        .await?;
    Ok(first.unwrap_or_else(|| began.elapsed()))
}

async fn searches(running: &Running) -> Result<()> {
    heading("Search, over the demo tenant's own documents");
    let cloud = Cloud::new(&running.emulator_url);
    let dimensions = 384;
    let mut calls = Vec::new();
    let mut inside = Vec::new();
    for run in 0..100_u32 {
        let vector: Vec<f32> = (0..dimensions).map(|i| f32::from(u8::from(i == run % dimensions))).collect();
        let request = json!({
            "tenant_id": docuchat_local::tenant::DEMO_TENANT, "text": "the keeper records the wind", "vector": vector, "limit": 12,
        });
        let began = Instant::now();
        let found = cloud.invoke(running.function("index-search")?, &request).await?;
        calls.push(began.elapsed());
        inside.push(Duration::from_millis(found.get("took_ms").and_then(Value::as_u64).unwrap_or_default()));
    }
    println!(
        "  call to index-search  p50 {:>7} ms   p95 {:>7} ms",
        ms(median(&calls)),
        ms(percentile(&calls, 95))
    );
    println!(
        "  in the database       p50 {:>7} ms   p95 {:>7} ms",
        ms(median(&inside)),
        ms(percentile(&inside, 95))
    );
    Ok(())
}
