//! Asks every dependency whether it is there.

use docuchat_kit::{Env, RuntimeError, logs, rest};
use docuchat_system::health::Health;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let app = Health::from_env(&env)?;
    rest::run("system-health", rest::Edge::from_env(&env)?, |call| app.handle(call)).await
}
