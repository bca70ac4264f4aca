//! `$connect` of the WebSocket API.
use docuchat_chat::connect::Connect;
use docuchat_kit::{Env, RuntimeError, logs, socket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let app = Connect::from_env(&Env::process())?;
    socket::run("ws-connect", |event| app.handle(event)).await
}
