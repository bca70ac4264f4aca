//! The Lambda function `index-migrate`.

use docuchat_domain::SystemClock;
use docuchat_index::{
    connection::{Database, Role, Settings},
    migrate::{self, AppLogin, Call},
};
use docuchat_kit::{invoke, logs};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::init();
    let database = &Database::new(Settings::from_env(Role::Admin)?, Arc::new(SystemClock));
    let login = &AppLogin::from_env();
    invoke::run("index-migrate", |call: Call, _| Box::pin(migrate::handle(database, login, call))).await
}
