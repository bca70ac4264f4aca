//! The ingest queue.

use crate::failure::failure;
use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use docuchat_domain::{Error, Result, ingestion::Job};
use std::time::Duration;

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// A client for the queue at this URL.
    #[must_use]
    pub fn new(config: &SdkConfig, url: impl Into<String>) -> Self {
        Self { client: Client::new(config), url: url.into() }
    }

    /// Puts work on the queue.
    pub async fn send(&self, job: &Job) -> Result<()> {
        let body = serde_json::to_string(job).map_err(|e| Error::internal("writing a job", e))?;
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .send()
            .await
            .map_err(|e| failure("sending to the queue", e))?;
        Ok(())
    }

    /// Lets a message that is being worked on come again after this time (at most 12 hours), instead of after the
    /// queue's own visibility time-out.
    pub async fn postpone(&self, receipt_handle: &str, by: Duration) -> Result<()> {
        let seconds = i32::try_from(by.as_secs().min(43_200)).unwrap_or(43_200);
        self.client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(seconds)
            .send()
            .await
            .map_err(|e| failure("postponing a message", e))?;
        Ok(())
    }

    /// Whether the queue answers.
    pub async fn ping(&self) -> Result<()> {
        self.client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(aws_sdk_sqs::types::QueueAttributeName::QueueArn)
            .send()
            .await
            .map_err(|e| failure("asking the queue", e))?;
        Ok(())
    }
}
