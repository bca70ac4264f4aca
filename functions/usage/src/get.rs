//! `GET /v1/usage`: tokens, questions and cost of the last 24 hours and 7 days.
//!
//! | status | code | when |
//! |---|---|---|
//! | 200 | | the caller's own; for admins and owners the tenant's beside it |
//! | 400 | `missing_tenant`, `invalid_tenant` | the tenant header |
//! | 401 | `missing_token`, `invalid_token`, `expired_token` | the access token |
//! | 403 | `tenant_mismatch` | the header names another tenant than the token |
//!
//! Windows consist of whole hours: the running one and the 23, or 167, before it.

use docuchat_aws::usage::UsageStore;
use docuchat_domain::{Clock as _, Result, SystemClock, tenant::Role, usage::Usage};
use docuchat_kit::{
    Env, RuntimeError,
    identity::Tokens,
    logs,
    rest::{Call, Reply},
};
use serde::Serialize;

/// The lengths of the windows, in hours.
const HOURS: [u32; 2] = [24, 7 * 24];

/// The body of the answer.
#[derive(Debug, Serialize)]
pub struct Response {
    /// What the caller used.
    #[serde(flatten)]
    pub own: Windows,
    /// What the whole tenant used; for admins and owners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Windows>,
}

/// Two windows that end now.
#[derive(Debug, Serialize)]
pub struct Windows {
    /// The last 24 hours.
    pub window_24h: Window,
    /// The last 7 days.
    pub window_7d: Window,
}

/// What was used in one window.
#[derive(Debug, Serialize)]
pub struct Window {
    /// Tokens of prompts.
    pub tokens_in: u64,
    /// Tokens of answers.
    pub tokens_out: u64,
    /// Tokens that were embedded.
    pub tokens_embedded: u64,
    /// Questions answered, refused or failed.
    pub requests: u64,
    /// Cost in US dollars, exact to a millionth.
    pub cost_usd: f64,
}

/// What the route needs.
#[derive(Debug)]
pub struct GetUsage {
    tokens: Tokens,
    usage: UsageStore,
}

impl GetUsage {
    /// From `TOKEN_SECRETS` and `USAGE_TABLE`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = docuchat_aws::config();
        Ok(Self {
            tokens: Tokens::from_env(env)?,
            usage: UsageStore::new(&config, env.required("USAGE_TABLE")?),
        })
    }

    /// Answers one request.
    pub async fn handle(&self, call: Call) -> Result<Reply> {
        let member = self.tokens.member(&call, &SystemClock)?;
        let now = SystemClock.now();
        let own = self.usage.windows(member.tenant_id, Some(member.user_id), now, HOURS);
        let tenant = async {
            if member.at_least(Role::Admin).is_err() {
                return Ok(None);
            }
            self.usage.windows(member.tenant_id, None, now, HOURS).await.map(Some)
        };
        let (own, tenant) = logs::timed("db_ms", async { tokio::try_join!(own, tenant) }).await?;
        Reply::json(200, &Response { own: own.into(), tenant: tenant.map(Windows::from) })
    }
}

impl From<[Usage; 2]> for Windows {
    fn from([day, week]: [Usage; 2]) -> Self {
        Self { window_24h: day.into(), window_7d: week.into() }
    }
}

impl From<Usage> for Window {
    fn from(usage: Usage) -> Self {
        Self {
            tokens_in: usage.tokens_in,
            tokens_out: usage.tokens_out,
            tokens_embedded: usage.tokens_embedded,
            requests: usage.requests,
            cost_usd: dollars(usage.cost_micro_usd),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a window costs far less than 2^52 millionths of a dollar")]
fn dollars(micro_usd: u64) -> f64 {
    micro_usd as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn usage(requests: u64) -> Usage {
        Usage { tokens_in: 1200, tokens_out: 300, tokens_embedded: 20, requests, cost_micro_usd: 1_250_001 }
    }

    #[test]
    fn a_member_sees_only_the_own_windows() {
        let body = serde_json::to_value(Response { own: [usage(1), usage(9)].into(), tenant: None }).unwrap();
        let window = |requests| json!({ "tokens_in": 1200, "tokens_out": 300, "tokens_embedded": 20, "requests": requests, "cost_usd": 1.250_001 });
        assert_eq!(body, json!({ "window_24h": window(1), "window_7d": window(9) }));
    }

    #[test]
    fn an_admin_sees_the_tenant_beside_them() {
        let tenant = Some([usage(5), usage(50)].into());
        let body = serde_json::to_value(Response { own: [usage(1), usage(9)].into(), tenant }).unwrap();
        assert_eq!(body["window_7d"]["requests"], 9);
        assert_eq!(body["tenant"]["window_7d"]["requests"], 50);
    }
}
