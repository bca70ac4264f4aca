//! `GET /v1/sessions/{session_id}`
use docuchat_chat::sessions_get::SessionsGet;
use docuchat_kit::{
    Env, RuntimeError, logs,
    rest::{self, Edge},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let app = SessionsGet::from_env(&env)?;
    let app = &app;
    rest::run("sessions-get", Edge::from_env(&env)?, |call| async move { app.handle(&call).await }).await
}
