//! Frames to WebSocket clients through the API Gateway management API.

use crate::failure::failure;
use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::{
    Client, config::Builder, operation::post_to_connection::PostToConnectionError, primitives::Blob,
};
use docuchat_domain::{Result, frame::Outbound};

/// Posts frames to connections.
#[derive(Debug, Clone)]
pub struct Connections(Client);

/// Whether the client is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The gateway took the frame.
    Sent,
    /// The client is gone (410): there is no use in posting to this connection again.
    Gone,
}

impl Connections {
    /// A client for the callback base of the WebSocket API (`https://{id}.execute-api.{region}.amazonaws.com/{stage}`).
    #[must_use]
    pub fn new(config: &SdkConfig, callback_url: &str) -> Self {
        Self(Client::from_conf(
            Builder::from(config).endpoint_url(callback_url.trim_end_matches('/')).build(),
        ))
    }

    /// Posts one frame.
    pub async fn post(&self, connection_id: &str, frame: &Outbound) -> Result<Delivery> {
        let sent = self
            .0
            .post_to_connection()
            .connection_id(connection_id)
            .data(Blob::new(frame.to_json()))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Delivery::Sent),
            Err(error) if error.as_service_error().is_some_and(PostToConnectionError::is_gone_exception) => {
                Ok(Delivery::Gone)
            }
            Err(error) if error.raw_response().is_some_and(|r| r.status().as_u16() == 410) => {
                Ok(Delivery::Gone)
            }
            Err(error) => Err(failure("posting a frame", error)),
        }
    }
}
