//! Says that the service is there.

use docuchat_kit::{Env, RuntimeError, logs, rest};
use docuchat_system::root::Root;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let app = Root::from_env(&env)?;
    rest::run("system-root", rest::Edge::from_env(&env)?, |call| app.handle(call)).await
}
