//! Ends or revives documents that went silent.

use docuchat_ingestion::reaper::Reaper;
use docuchat_kit::{Env, RuntimeError, invoke, logs};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let reaper = Reaper::from_env(&Env::process())?;
    invoke::run("ingest-reaper", |_: serde_json::Value, _| reaper.handle()).await
}
