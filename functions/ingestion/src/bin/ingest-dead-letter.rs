//! Marks documents whose message was given up.

use docuchat_ingestion::dead_letter::DeadLetter;
use docuchat_kit::{Env, RuntimeError, batch, logs};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let dead_letter = DeadLetter::from_env(&Env::process())?;
    let handle = |message, invocation| dead_letter.handle(message, invocation);
    // Everything is acknowledged, so nothing is ever postponed.
    batch::run("ingest-dead-letter", handle, |_, _| async { Ok(()) }).await
}
