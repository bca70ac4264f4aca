//! `GET /v1/sessions`
use docuchat_chat::sessions_list::SessionsList;
use docuchat_kit::{
    Env, RuntimeError, logs,
    rest::{self, Edge},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let app = SessionsList::from_env(&env)?;
    let app = &app;
    rest::run("sessions-list", Edge::from_env(&env)?, |call| async move { app.handle(&call).await }).await
}
