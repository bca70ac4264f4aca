//! The Lambda function `index-search`.

use docuchat_domain::{SystemClock, index::SearchCall};
use docuchat_index::{
    connection::{Database, Role, Settings},
    search,
};
use docuchat_kit::{invoke, logs};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::init();
    let database = &Arc::new(Database::new(Settings::from_env(Role::App)?, Arc::new(SystemClock)));
    database.warm();
    invoke::run("index-search", |request: SearchCall, _| {
        Box::pin(async move { logs::timed("db_ms", search::handle(database, &request)).await })
    })
    .await
}
