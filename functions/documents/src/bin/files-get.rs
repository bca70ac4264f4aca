//! `GET /v1/files/{document_id}`.

use docuchat_documents::get::GetFile;
use docuchat_kit::{
    Env, RuntimeError, logs,
    rest::{self, Edge},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let route = GetFile::from_env(&env)?;
    rest::run("files-get", Edge::from_env(&env)?, |call| route.handle(call)).await
}
