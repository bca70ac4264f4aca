//! Changes a code for an access token.

use docuchat_auth::verify_code::VerifyCode;
use docuchat_kit::{Env, RuntimeError, logs, rest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), RuntimeError> {
    logs::init();
    let env = Env::process();
    let app = VerifyCode::from_env(&env)?;
    rest::run("auth-verify-code", rest::Edge::from_env(&env)?, |call| app.handle(call)).await
}
