//! `$disconnect`: forgets the connection. API Gateway sends it as best it can, so rows also expire.

use docuchat_aws::{config, sockets::Sockets};
use docuchat_domain::Result;
use docuchat_kit::{Env, RuntimeError, socket::Event};

/// What the route needs.
#[derive(Debug)]
pub struct Disconnect {
    sockets: Sockets,
}

impl Disconnect {
    /// From `CONNECTIONS_TABLE`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        Ok(Self { sockets: Sockets::new(&config(), env.required("CONNECTIONS_TABLE")?) })
    }

    /// Forgets the connection.
    pub async fn handle(&self, event: Event) -> Result<()> {
        self.sockets.remove(&event.connection_id).await
    }
}
