//! Tells what was used.

use docuchat_kit::{Env, RuntimeError, logs, rest};
use docuchat_usage::get::GetUsage;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let app = GetUsage::from_env(&env)?;
    rest::run("usage-get", rest::Edge::from_env(&env)?, |call| app.handle(call)).await
}
