//! The worker that answers one question.
use docuchat_chat::answer::Worker;
use docuchat_kit::{Env, RuntimeError, invoke, logs};

#[tokio::main]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let app = Worker::from_env(&Env::process())?;
    invoke::run("chat-answer", |job, invocation| app.handle(job, invocation)).await
}
