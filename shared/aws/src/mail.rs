//! Mail through SES.

use crate::failure::failure;
use aws_config::SdkConfig;
use aws_sdk_sesv2::{
    Client,
    types::{Body, Content, Destination, EmailContent, Message},
};
use docuchat_domain::{Error, Result, tenant::Email};

/// Sends mail from one address.
#[derive(Debug, Clone)]
pub struct Mailer {
    client: Client,
    from: String,
}

impl Mailer {
    /// A mailer for a verified sender.
    #[must_use]
    pub fn new(config: &SdkConfig, from: impl Into<String>) -> Self {
        Self { client: Client::new(config), from: from.into() }
    }

    /// Sends a plain-text message.
    pub async fn send(&self, to: &Email, subject: &str, text: &str) -> Result<()> {
        let content = |data: &str| {
            Content::builder()
                .data(data)
                .charset("UTF-8")
                .build()
                .map_err(|e| Error::internal("writing a mail", e))
        };
        let message = Message::builder()
            .subject(content(subject)?)
            .body(Body::builder().text(content(text)?).build())
            .build();
        self.client
            .send_email()
            .from_email_address(&self.from)
            .destination(Destination::builder().to_addresses(to.as_str()).build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await
            .map_err(|e| failure("sending a mail", e))?;
        Ok(())
    }
}
