//! `$default` of the WebSocket API: every frame of a client.
use docuchat_chat::message::Message;
use docuchat_kit::{Env, RuntimeError, logs, socket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let app = Message::from_env(&Env::process())?;
    socket::run("ws-message", |event| app.handle(event)).await
}
