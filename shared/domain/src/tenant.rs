//! Tenants, their people and what each may do.

use crate::{
    error::{Error, Result},
    ids::{TenantId, UserId},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub tenant_id: TenantId,
    /// Its name, as people write it.
    pub name: String,
    /// Who may become a user by asking for a code.
    #[serde(default)]
    pub sign_up: SignUp,
    /// The e-mail domains that [`SignUp::Domains`] admits, in lower case.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Whether it may be used.
    #[serde(default)]
    pub status: TenantStatus,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Who may become a user of a tenant by asking for a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignUp {
    /// Nobody: users are made by an administrator.
    #[default]
    Closed,
    /// Everybody with an address of one of the tenant's domains.
    Domains,
    /// Everybody.
    Open,
}

/// Whether a tenant may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// In use.
    #[default]
    Active,
    /// Locked by the operator: nobody signs in.
    Suspended,
}

impl Tenant {
    /// Whether an address that is not a user yet may become one.
    #[must_use]
    pub fn admits(&self, email: &Email) -> bool {
        self.status == TenantStatus::Active
            && match self.sign_up {
                SignUp::Closed => false,
                SignUp::Open => true,
                SignUp::Domains => {
                    self.domains.iter().any(|domain| domain.eq_ignore_ascii_case(email.domain()))
                }
            }
    }
}

/// A person within one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The person's tenant.
    pub tenant_id: TenantId,
    /// The person's id within it.
    pub user_id: UserId,
    /// The address that codes go to.
    pub email: Email,
    /// What the person may do.
    pub role: Role,
    /// When the person first signed in.
    pub created_at: Timestamp,
}

/// What a person may do. The order is the order of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and asks.
    Viewer,
    /// Uploads and deletes own documents as well.
    Member,
    /// Manages people and every document.
    Admin,
    /// Manages the tenant itself.
    Owner,
}

/// An e-mail address in the form used as a key: trimmed and in lower case. Its `Debug` form shows only the domain, so
/// that an address cannot slip into a log.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

impl Email {
    /// Checks the shape only (RFC 5321 lengths, one `@`, a dotted domain, no spaces or controls): whether it exists is
    /// shown by the code that arrives.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let invalid = || Error::invalid("invalid_email", "This is not an e-mail address.").with_path("email");
        let (local, domain) = text.rsplit_once('@').ok_or_else(invalid)?;
        let local_ok = (1..=64).contains(&local.len())
            && local.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"@<>(),;:\\\"[]".contains(c));
        let domain_ok = (3..=253).contains(&domain.len())
            && domain.contains('.')
            && domain.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            });
        if text.len() > 254 || !local_ok || !domain_ok {
            Err(invalid())
        } else {
            Ok(Self(text.to_lowercase()))
        }
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands after the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Email(***@{})", self.domain())
    }
}

impl TryFrom<String> for Email {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_keys_in_one_spelling() {
        assert_eq!(Email::parse(" Sara@Example.COM ").unwrap().as_str(), "sara@example.com");
        for bad in [
            "",
            "a",
            "a@b",
            "@example.com",
            "a b@example.com",
            "a@exa mple.com",
            "a@-x.com",
            "a@x..com",
            "a\n@x.com",
        ] {
            assert_eq!(Email::parse(bad).unwrap_err().code(), "invalid_email", "{bad:?}");
        }
    }

    #[test]
    fn debug_output_hides_the_person() {
        assert_eq!(format!("{:?}", Email::parse("sara@example.com").unwrap()), "Email(***@example.com)");
    }

    #[test]
    fn sign_up_policy() {
        let mut tenant = Tenant {
            tenant_id: "d0c0c4a7-0000-4000-8000-000000000001".parse().unwrap(),
            name: "Demo".into(),
            sign_up: SignUp::Domains,
            domains: vec!["example.com".into()],
            status: TenantStatus::Active,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let inside = Email::parse("a@example.com").unwrap();
        let outside = Email::parse("a@notexample.com").unwrap();
        assert!(tenant.admits(&inside) && !tenant.admits(&outside));
        tenant.sign_up = SignUp::Open;
        assert!(tenant.admits(&outside));
        tenant.status = TenantStatus::Suspended;
        assert!(!tenant.admits(&inside));
    }
}
