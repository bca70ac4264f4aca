//! Calls from function to function.

use crate::failure::failure;
use aws_config::SdkConfig;
use aws_sdk_lambda::{Client, primitives::Blob, types::InvocationType};
use docuchat_domain::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Invokes other functions of the stack by name.
#[derive(Debug, Clone)]
pub struct Functions(Client);

impl Functions {
    /// A client on this configuration; take [`crate::config::config_for_long_calls`] for slow functions.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        Self(Client::new(config))
    }

    /// Calls and waits for the answer. A function that fails counts as unavailable: what it refuses for good, it
    /// answers as an outcome of its own.
    pub async fn call<I, O>(&self, function: &str, payload: &I) -> Result<O>
    where
        I: Serialize + Sync,
        O: DeserializeOwned,
    {
        let body = serde_json::to_vec(payload).map_err(|e| Error::internal("writing a payload", e))?;
        let answer = self
            .0
            .invoke()
            .function_name(function)
            .payload(Blob::new(body))
            .send()
            .await
            .map_err(|e| failure("calling a function", e))?;
        let bytes = answer.payload.map(Blob::into_inner).unwrap_or_default();
        if let Some(kind) = answer.function_error {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Err(Error::unavailable("a called function", format!("{function}: {kind}: {text}")));
        }
        serde_json::from_slice(&bytes).map_err(|e| Error::internal("reading a function's answer", e))
    }

    /// Hands over and returns as soon as the event is accepted.
    pub async fn send<I: Serialize + Sync>(&self, function: &str, payload: &I) -> Result<()> {
        let body = serde_json::to_vec(payload).map_err(|e| Error::internal("writing a payload", e))?;
        self.0
            .invoke()
            .function_name(function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(body))
            .send()
            .await
            .map_err(|e| failure("starting a function", e))?;
        Ok(())
    }
}
