//! The Lambda function `index-erase`.

use docuchat_domain::{SystemClock, index::EraseRequest};
use docuchat_index::{
    connection::{Database, Role, Settings},
    erase,
};
use docuchat_kit::{invoke, logs};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::init();
    let database = &Arc::new(Database::new(Settings::from_env(Role::App)?, Arc::new(SystemClock)));
    database.warm();
    invoke::run("index-erase", |request: EraseRequest, _| {
        Box::pin(async move { logs::timed("db_ms", erase::handle(database, &request)).await })
    })
    .await
}
