//! `DELETE /v1/files/{document_id}`.

use docuchat_documents::delete::DeleteFile;
use docuchat_kit::{
    Env, RuntimeError, logs,
    rest::{self, Edge},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let route = DeleteFile::from_env(&env)?;
    rest::run("files-delete", Edge::from_env(&env)?, |call| route.handle(call)).await
}
