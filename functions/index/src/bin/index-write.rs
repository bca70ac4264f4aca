//! The Lambda function `index-write`.

use docuchat_domain::{SystemClock, index::WriteRequest};
use docuchat_index::{
    artifacts::S3Artifacts,
    connection::{Database, Role, Settings},
    write,
};
use docuchat_kit::{invoke, logs};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::init();
    let database = &Arc::new(Database::new(Settings::from_env(Role::App)?, Arc::new(SystemClock)));
    let artifacts = &S3Artifacts::new(&docuchat_aws::config());
    database.warm();
    invoke::run("index-write", |request: WriteRequest, _| {
        Box::pin(async move { logs::timed("db_ms", write::handle(database, artifacts, &request)).await })
    })
    .await
}
