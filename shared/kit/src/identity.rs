//! Access tokens: JSON Web Tokens (RFC 7519) signed with HS256, named by `kid` so that secrets can be rotated.

use crate::env::{Env, SettingError};
use docuchat_domain::{
    Clock, Error, Kind, Result, TenantId, UserId,
    tenant::{Role, User},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Issuer and audience of our access tokens: a token made for another purpose with the same secret is not one.
const ISSUER: &str = "docuchat";
const AUDIENCE: &str = "docuchat:access";

/// Somebody who proved to be a user of a tenant. A handler that takes one cannot be called by anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The tenant; every store call begins with it.
    pub tenant_id: TenantId,
    /// The person.
    pub user_id: UserId,
    /// What the person may do.
    pub role: Role,
}

impl Member {
    /// Refuses a person below this role.
    pub fn at_least(&self, role: Role) -> Result<()> {
        if self.role >= role {
            return Ok(());
        }
        Err(Error::new(Kind::Forbidden, "role_required", "Your role does not allow this."))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    tid: TenantId,
    role: Role,
    iat: i64,
    exp: i64,
}

struct Key {
    id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
}

/// Signs and checks access tokens.
pub struct Tokens {
    keys: Vec<Key>,
    lifetime_s: i64,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl Tokens {
    /// From `TOKEN_SECRETS` (`kid:secret[,kid2:secret2]`; the first signs, all verify) and `ACCESS_TOKEN_SECONDS`.
    pub fn from_env(env: &Env) -> Result<Self, SettingError> {
        const EXPECTED: &str = "a list of kid:secret with secrets of at least 32 bytes";
        let invalid = || SettingError::Invalid { name: "TOKEN_SECRETS", expected: EXPECTED };
        let keys = env
            .required("TOKEN_SECRETS")?
            .split(',')
            .map(|entry| {
                let (id, secret) = entry.trim().split_once(':').ok_or_else(invalid)?;
                if id.is_empty() || secret.len() < 32 {
                    return Err(invalid());
                }
                Ok(Key {
                    id: id.to_owned(),
                    signing: EncodingKey::from_secret(secret.as_bytes()),
                    verifying: DecodingKey::from_secret(secret.as_bytes()),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let lifetime_s = env.parsed("ACCESS_TOKEN_SECONDS", 1800, "a number of seconds")?;
        Ok(Self { keys, lifetime_s })
    }

    /// How long a new token is valid, in seconds.
    #[must_use]
    pub const fn lifetime_s(&self) -> i64 {
        self.lifetime_s
    }

    /// A token for a user.
    pub fn sign(&self, user: &User, clock: &dyn Clock) -> Result<String> {
        let key = self.keys.first().ok_or_else(|| Error::internal("signing a token", "no key"))?;
        let now = clock.now().as_second();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: user.user_id,
            tid: user.tenant_id,
            role: user.role,
            iat: now,
            exp: now + self.lifetime_s,
        };
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(key.id.clone());
        encode(&header, &claims, &key.signing).map_err(|e| Error::internal("signing a token", e))
    }

    /// Who a token speaks for. Every token that is not ours, not HS256, of an unknown key or altered is answered alike.
    pub fn verify(&self, token: &str, clock: &dyn Clock) -> Result<Member> {
        let refuse = || Error::new(Kind::Unauthenticated, "invalid_token", "The access token is not valid.");
        let header = decode_header(token).map_err(|_| refuse())?;
        let key = self.keys.iter().find(|key| header.kid.as_ref() == Some(&key.id)).ok_or_else(refuse)?;
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Against our own clock, below: the library would read the machine's.
        rules.validate_exp = false;
        let claims = decode::<Claims>(token, &key.verifying, &rules).map_err(|_| refuse())?.claims;
        let now = clock.now().as_second();
        // A minute of leeway for clocks that differ, as RFC 7519 section 4.1.4 allows.
        if claims.iat > now + 60 {
            return Err(refuse());
        }
        if claims.exp <= now {
            return Err(Error::new(
                Kind::Unauthenticated,
                "expired_token",
                "The access token has expired; sign in again.",
            ));
        }
        crate::logs::note("tenant_id", claims.tid.to_string());
        crate::logs::note("user_id", claims.sub.to_string());
        Ok(Member { tenant_id: claims.tid, user_id: claims.sub, role: claims.role })
    }

    /// The member behind an `Authorization: Bearer …` header.
    pub fn bearer(&self, authorization: Option<&str>, clock: &dyn Clock) -> Result<Member> {
        let missing = || {
            Error::new(
                Kind::Unauthenticated,
                "missing_token",
                "Send the access token as Authorization: Bearer.",
            )
        };
        let (scheme, token) = authorization.and_then(|value| value.split_once(' ')).ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        self.verify(token.trim(), clock)
    }

    /// The member who makes a REST call: the token proves the tenant, and the header must name the same one.
    #[cfg(feature = "rest")]
    pub fn member(&self, call: &crate::rest::Call, clock: &dyn Clock) -> Result<Member> {
        let member = self.bearer(call.header(http::header::AUTHORIZATION), clock)?;
        same_tenant(member, tenant(call)?)
    }
}

/// The tenant that a call's header names.
#[cfg(feature = "rest")]
pub fn tenant(call: &crate::rest::Call) -> Result<TenantId> {
    let name = call.tenant_header.as_str();
    let text = call.header(&call.tenant_header).ok_or_else(|| {
        Error::invalid("missing_tenant", format!("Send the tenant's id in the {name} header."))
    })?;
    parse_tenant(text, name)
}

/// A tenant id in a header.
pub fn parse_tenant(text: &str, header: &str) -> Result<TenantId> {
    text.trim()
        .parse()
        .map_err(|_| Error::invalid("invalid_tenant", format!("The {header} header is not a tenant's id.")))
}

/// Refuses a header that names another tenant than the token.
pub fn same_tenant(member: Member, named: TenantId) -> Result<Member> {
    if member.tenant_id == named {
        return Ok(member);
    }
    Err(Error::new(Kind::Forbidden, "tenant_mismatch", "The access token belongs to another tenant."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use docuchat_domain::{FixedClock, tenant::Email};
    use std::time::Duration;

    const A: &str = "a:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "b:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn tokens(secrets: &str) -> Tokens {
        Tokens::from_env(&Env::of(&[("TOKEN_SECRETS", secrets)])).unwrap()
    }

    fn user() -> User {
        User {
            tenant_id: "d0c0c4a7-0000-4000-8000-000000000001".parse().unwrap(),
            user_id: "d0c0c4a7-0000-4000-8000-000000000002".parse().unwrap(),
            email: Email::parse("a@example.com").unwrap(),
            role: Role::Member,
            created_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn code(result: Result<Member>) -> &'static str {
        result.unwrap_err().code()
    }

    #[test]
    fn a_token_lives_for_its_time() {
        let clock = FixedClock::at("2026-01-01T00:00:00Z");
        let tokens = tokens(A);
        let token = tokens.sign(&user(), &clock).unwrap();
        clock.advance(Duration::from_secs(1799));
        assert_eq!(tokens.verify(&token, &clock).unwrap().user_id, user().user_id);
        clock.advance(Duration::from_secs(1));
        assert_eq!(code(tokens.verify(&token, &clock)), "expired_token");
    }

    #[test]
    fn secrets_rotate() {
        let clock = FixedClock::at("2026-01-01T00:00:00Z");
        let old = tokens(A).sign(&user(), &clock).unwrap();
        assert!(tokens(&format!("{B},{A}")).verify(&old, &clock).is_ok());
        assert_eq!(code(tokens(B).verify(&old, &clock)), "invalid_token");
    }

    #[test]
    fn forged_tokens_are_refused() {
        let clock = FixedClock::at("2026-01-01T00:00:00Z");
        let ours = tokens(A);
        let token = ours.sign(&user(), &clock).unwrap();
        let mut tampered = token.clone();
        tampered.replace_range(token.len() - 4.., "AAAA");
        // {"alg":"none","kid":"a"} with the claims of a real token and no signature.
        let claims = token.split('.').nth(1).unwrap();
        let none = format!("eyJhbGciOiJub25lIiwia2lkIjoiYSJ9.{claims}.");
        for bad in ["", "x", "a.b.c", tampered.as_str(), none.as_str()] {
            assert_eq!(code(ours.verify(bad, &clock)), "invalid_token", "{bad}");
        }
        let same_id_other_secret = tokens("a:cccccccccccccccccccccccccccccccccccccc");
        assert_eq!(code(same_id_other_secret.verify(&token, &clock)), "invalid_token");
        assert_eq!(code(ours.bearer(None, &clock)), "missing_token");
        assert_eq!(code(ours.bearer(Some("Basic x"), &clock)), "missing_token");
    }

    #[test]
    fn short_secrets_do_not_start() {
        assert!(Tokens::from_env(&Env::of(&[("TOKEN_SECRETS", "a:short")])).is_err());
        assert!(Tokens::from_env(&Env::of(&[])).is_err());
    }
}
