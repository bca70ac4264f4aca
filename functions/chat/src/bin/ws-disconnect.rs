//! `$disconnect` of the WebSocket API.
use docuchat_chat::disconnect::Disconnect;
use docuchat_kit::{Env, RuntimeError, logs, socket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let app = Disconnect::from_env(&Env::process())?;
    socket::run("ws-disconnect", |event| app.handle(event)).await
}
