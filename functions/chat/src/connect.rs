//! `$connect`: lets a person in who proves to be one.
//!
//! The access token comes as `?token=…` (a browser cannot send headers with a WebSocket) or as `Authorization: Bearer …`.
//! The token carries the tenant; a tenant header is not needed, but one that names another tenant is refused.
//!
//! | answer | when |
//! |---|---|
//! | 200 | the connection is noted for two hours, which is as long as API Gateway keeps one |
//! | 401 | no token, or one that is not valid or expired |
//! | 400, 403 | a tenant header that is no id, or another tenant's |

use docuchat_aws::{
    config,
    sockets::{LONGEST, Socket, Sockets},
};
use docuchat_domain::{Clock, Error, Result, SystemClock};
use docuchat_kit::{
    Env, RuntimeError,
    identity::{Member, Tokens, parse_tenant, same_tenant},
    socket::Event,
};

/// What the route needs.
#[derive(Debug)]
pub struct Connect {
    tokens: Tokens,
    tenant_header: String,
    sockets: Sockets,
}

impl Connect {
    /// From `TOKEN_SECRETS`, `TENANT_HEADER` and `CONNECTIONS_TABLE`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        Ok(Self {
            tokens: Tokens::from_env(env)?,
            tenant_header: env.optional("TENANT_HEADER").unwrap_or_else(|| "X-Tenant-ID".into()),
            sockets: Sockets::new(&config(), env.required("CONNECTIONS_TABLE")?),
        })
    }

    /// Lets the connection in or refuses it.
    pub async fn handle(&self, event: Event) -> Result<()> {
        let member = admitted(&self.tokens, &self.tenant_header, &event, &SystemClock)?;
        let now = SystemClock.now();
        let expires_at = now.checked_add(LONGEST).map_err(|e| Error::internal("adding two hours", e))?;
        let socket = Socket {
            connection_id: event.connection_id,
            tenant_id: member.tenant_id,
            user_id: member.user_id,
            role: member.role,
            connected_at: now,
            expires_at,
        };
        self.sockets.put(&socket).await
    }
}

fn admitted(tokens: &Tokens, tenant_header: &str, event: &Event, clock: &dyn Clock) -> Result<Member> {
    let member = match event.query("token") {
        Some(token) => tokens.verify(token, clock)?,
        None => tokens.bearer(event.header("authorization"), clock)?,
    };
    match event.header(tenant_header).filter(|value| !value.trim().is_empty()) {
        Some(named) => same_tenant(member, parse_tenant(named, tenant_header)?),
        None => Ok(member),
    }
}
