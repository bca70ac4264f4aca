//! `POST /v1/auth/verify-code`: changes a code for an access token.
//!
//! | status | code | when |
//! |---|---|---|
//! | 200 | | the code was right; it is used up, and a person the tenant admits has become a user |
//! | 400 | `missing_tenant`, `invalid_tenant` | the tenant header |
//! | 400 | `invalid_field`, `malformed_json`, `invalid_email` | the body |
//! | 401 | `invalid_code` | wrong, expired, used, or never asked for: not told apart |
//! | 403 | `tenant_suspended` | the tenant is locked |
//! | 404 | `tenant_not_found` | there is no such tenant |
//! | 429 | `too_many_attempts` | the sixth guess at one code, right or wrong; `Retry-After` is its end |

use crate::code;
use docuchat_aws::{
    codes::{Codes, Redeemed},
    identity::Identity,
};
use docuchat_domain::{
    Clock as _, Error, Kind, Result, SystemClock, SystemEntropy, TenantId, UserId,
    tenant::{Email, Role, Tenant, TenantStatus, User},
};
use docuchat_kit::{
    Env, RuntimeError,
    identity::{self, Tokens},
    logs,
    rest::{Call, Reply},
};
use serde::{Deserialize, Serialize};

/// The body of the request. Without `Debug`: it holds an address and a code.
#[derive(Deserialize)]
struct Request {
    /// Where the code went.
    email: String,
    /// What arrived, as it was typed.
    code: String,
}

/// The body of the answer (RFC 6749 section 5.1, and whom the token speaks for).
#[derive(Debug, Serialize)]
pub struct Response {
    /// Goes into the `Authorization` header of further requests.
    pub access_token: String,
    /// Always `bearer`.
    pub token_type: &'static str,
    /// How long the token is valid, in seconds.
    pub expires_in: i64,
    /// The person.
    pub user_id: UserId,
    /// The person's tenant.
    pub tenant_id: TenantId,
}

/// What the route needs.
#[derive(Debug)]
pub struct VerifyCode {
    identity: Identity,
    codes: Codes,
    tokens: Tokens,
}

impl VerifyCode {
    /// From `IDENTITY_TABLE`, `CODES_TABLE`, `CODE_SECRET`, `TOKEN_SECRETS` and `ACCESS_TOKEN_SECONDS`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = docuchat_aws::config();
        Ok(Self {
            identity: Identity::new(&config, env.required("IDENTITY_TABLE")?),
            codes: Codes::new(&config, env.required("CODES_TABLE")?, env.secret("CODE_SECRET")?.reveal())?,
            tokens: Tokens::from_env(env)?,
        })
    }

    /// Answers one request.
    pub async fn handle(&self, call: Call) -> Result<Reply> {
        let tenant_id = identity::tenant(&call)?;
        logs::note("tenant_id", tenant_id.to_string());
        let Request { email, code } = call.json()?;
        let (email, code) = (Email::parse(&email)?, code::normalised(&code));
        let tenant = active(logs::timed("db_ms", self.identity.tenant(tenant_id)).await?)?;

        let redeem = self.codes.redeem(tenant_id, &email, &code, SystemClock.now());
        accepted(logs::timed("db_ms", redeem).await?)?;

        let user = logs::timed("db_ms", self.user(&tenant, email)).await?;
        logs::note("user_id", user.user_id.to_string());
        Reply::json(
            200,
            &Response {
                access_token: self.tokens.sign(&user, &SystemClock)?,
                token_type: "bearer",
                expires_in: self.tokens.lifetime_s(),
                user_id: user.user_id,
                tenant_id,
            },
        )
    }

    /// The person behind the address, who may have to be made. One whom the tenant does not admit was never sent the
    /// code and has guessed it: that is answered like a wrong one.
    async fn user(&self, tenant: &Tenant, email: Email) -> Result<User> {
        if let Some(user) = self.identity.user_by_email(tenant.tenant_id, &email).await? {
            return Ok(user);
        }
        if !tenant.admits(&email) {
            return Err(invalid_code());
        }
        let user = User {
            tenant_id: tenant.tenant_id,
            user_id: UserId::generate(&SystemClock, &SystemEntropy),
            email,
            role: Role::Member,
            created_at: SystemClock.now(),
        };
        self.identity.create_user(tenant.tenant_id, &user).await
    }
}

/// A tenant whose people may sign in. Tenants are no secret: a client that names a wrong one is told so.
pub(crate) fn active(tenant: Option<Tenant>) -> Result<Tenant> {
    let tenant = tenant.ok_or_else(|| Error::not_found("tenant_not_found", "tenant"))?;
    match tenant.status {
        TenantStatus::Active => Ok(tenant),
        TenantStatus::Suspended => {
            Err(Error::new(Kind::Forbidden, "tenant_suspended", "This tenant is suspended."))
        }
    }
}

fn accepted(redeemed: Redeemed) -> Result<()> {
    match redeemed {
        Redeemed::Accepted => Ok(()),
        Redeemed::Refused => Err(invalid_code()),
        Redeemed::Exhausted { after } => {
            let detail = "The code was guessed at too often. Ask for a new one.";
            Err(Error::new(Kind::RateLimited, "too_many_attempts", detail).with_retry_after(after))
        }
    }
}

fn invalid_code() -> Error {
    Error::new(Kind::Unauthenticated, "invalid_code", "The code is wrong or has expired.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn tenant(status: TenantStatus) -> Tenant {
        serde_json::from_value(serde_json::json!({
            "tenant_id": "d0c0c4a7-0000-4000-8000-000000000001",
            "name": "Demo",
            "status": status,
            "created_at": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn only_an_active_tenant_lets_in() {
        assert!(active(Some(tenant(TenantStatus::Active))).is_ok());
        let suspended = active(Some(tenant(TenantStatus::Suspended))).unwrap_err();
        assert_eq!((suspended.kind(), suspended.code()), (Kind::Forbidden, "tenant_suspended"));
        let unknown = active(None).unwrap_err();
        assert_eq!((unknown.kind(), unknown.code()), (Kind::NotFound, "tenant_not_found"));
    }

    #[test]
    fn refusals() {
        let wrong = accepted(Redeemed::Refused).unwrap_err();
        assert_eq!((wrong.kind(), wrong.code()), (Kind::Unauthenticated, "invalid_code"));
        assert_eq!(wrong.detail(), "The code is wrong or has expired.");
        let after = Duration::from_mins(5);
        let exhausted = accepted(Redeemed::Exhausted { after }).unwrap_err();
        assert_eq!((exhausted.kind(), exhausted.code()), (Kind::RateLimited, "too_many_attempts"));
        assert_eq!(exhausted.retry_after(), Some(after));
    }
}
