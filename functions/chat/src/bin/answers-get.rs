//! `GET /v1/answers/{answer_id}`
use docuchat_chat::answers_get::AnswersGet;
use docuchat_kit::{
    Env, RuntimeError, logs,
    rest::{self, Edge},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let app = AnswersGet::from_env(&env)?;
    let app = &app;
    rest::run("answers-get", Edge::from_env(&env)?, |call| async move { app.handle(&call).await }).await
}
