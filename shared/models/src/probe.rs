//! Whether the model service answers and knows our key.

use crate::service::{Service, accepted};
use docuchat_domain::Result;
use docuchat_kit::{Env, RuntimeError};

/// Asks the service for its list of models, which costs nothing.
#[derive(Debug, Clone)]
pub struct Probe(Service);

impl Probe {
    /// From `OPENAI_BASE_URL` and `OPENAI_API_KEY`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        Service::from_env(env).map(Self)
    }

    /// `GET {OPENAI_BASE_URL}/models`. An error of kind `Internal` means that address or key are wrong.
    pub async fn ping(&self) -> Result<()> {
        accepted(self.0.get("models")).await?;
        Ok(())
    }
}
