//! `GET /v1/files`.

use docuchat_documents::list::ListFiles;
use docuchat_kit::{
    Env, RuntimeError, logs,
    rest::{self, Edge},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let route = ListFiles::from_env(&env)?;
    rest::run("files-list", Edge::from_env(&env)?, |call| route.handle(call)).await
}
