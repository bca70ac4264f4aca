//! `POST /v1/files`.

use docuchat_documents::create::CreateFile;
use docuchat_kit::{
    Env, RuntimeError, logs,
    rest::{self, Edge},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let route = CreateFile::from_env(&env)?;
    rest::run("files-create", Edge::from_env(&env)?, |call| route.handle(call)).await
}
