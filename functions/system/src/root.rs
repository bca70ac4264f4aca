//! `GET /`, `GET /healthz` and `GET /health/live`: that this process runs, and nothing more.

use crate::VERSION;
use docuchat_domain::{Error, Result};
use docuchat_kit::{
    Env,
    env::SettingError,
    rest::{Call, Reply},
};
use serde::Serialize;

/// The body of `GET /`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Always `DocuChat`.
    pub name: &'static str,
    /// The version of this build.
    pub version: &'static str,
    /// Always `running`.
    pub status: &'static str,
}

/// The body of `GET /healthz` and `GET /health/live`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Alive {
    /// Always `ok`.
    pub status: &'static str,
}

/// The routes need nothing.
#[derive(Debug)]
pub struct Root;

impl Root {
    /// There are no settings.
    pub const fn from_env(_: &Env) -> Result<Self, SettingError> {
        Ok(Self)
    }

    /// Answers one request.
    #[expect(clippy::unused_async, reason = "the edge takes asynchronous handlers")]
    pub async fn handle(&self, call: Call) -> Result<Reply> {
        match call.route.as_str() {
            "/" => Reply::json(200, &Service { name: "DocuChat", version: VERSION, status: "running" }),
            "/healthz" | "/health/live" => Reply::json(200, &Alive { status: "ok" }),
            _ => Err(Error::not_found("route_not_found", "route")),
        }
    }
}
