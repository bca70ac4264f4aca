//! Mails a sign-in code.

use docuchat_auth::request_code::RequestCode;
use docuchat_kit::{Env, RuntimeError, logs, rest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let app = RequestCode::from_env(&env)?;
    rest::run("auth-request-code", rest::Edge::from_env(&env)?, |call| app.handle(call)).await
}
