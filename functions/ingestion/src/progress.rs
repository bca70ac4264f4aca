//! Progress to the owner's open sockets. A convenience: nothing depends on whether a frame arrives.

use docuchat_aws::{
    connections::{Connections, Delivery},
    sockets::Sockets,
};
use docuchat_domain::{
    Clock as _, Result, SystemClock,
    document::{Document, Status},
    frame::Outbound,
};
use docuchat_kit::{Env, env::SettingError};
use std::time::Duration;

/// The longest that a document waits for its frames.
const LIMIT: Duration = Duration::from_secs(2);

/// Tells owners how their documents move on.
#[derive(Debug)]
pub struct Progress {
    sockets: Sockets,
    connections: Connections,
}

impl Progress {
    /// From `CONNECTIONS_TABLE` and `WEBSOCKET_CALLBACK_URL`.
    pub fn from_env(env: &Env, config: &aws_config::SdkConfig) -> Result<Self, SettingError> {
        Ok(Self {
            sockets: Sockets::new(config, env.required("CONNECTIONS_TABLE")?),
            connections: Connections::new(config, &env.required("WEBSOCKET_CALLBACK_URL")?),
        })
    }

    /// Posts one frame to every open socket of the owner.
    pub async fn tell(&self, document: &Document, status: Status, percent: u8, error_code: Option<&str>) {
        let frame = Outbound::Document {
            document_id: document.document_id,
            status,
            percent,
            error_code: error_code.map(str::to_owned),
        };
        match tokio::time::timeout(LIMIT, self.post(document, &frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = error.chain(), "a progress frame was not posted"),
            Err(_) => tracing::debug!("progress frames took too long"),
        }
    }

    async fn post(&self, document: &Document, frame: &Outbound) -> Result<()> {
        for socket in self.sockets.of_user(document.tenant_id, document.owner_id, SystemClock.now()).await? {
            match self.connections.post(&socket.connection_id, frame).await {
                Ok(Delivery::Sent) => {}
                Ok(Delivery::Gone) => self.sockets.remove(&socket.connection_id).await?,
                // The next socket may be well.
                Err(error) => tracing::debug!(error = error.chain(), "a progress frame was not posted"),
            }
        }
        Ok(())
    }
}
