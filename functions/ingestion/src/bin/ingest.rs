//! Takes uploaded documents in and erases deleted ones.

use docuchat_ingestion::ingest::Ingest;
use docuchat_kit::{Env, RuntimeError, batch, logs};

// Two threads: one reads text while the other keeps the heartbeat.
#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let ingest = Ingest::from_env(&Env::process())?;
    let handle = |message, invocation| ingest.handle(message, invocation);
    batch::run("ingest", handle, |receipt, by| ingest.postpone(receipt, by)).await
}
