//! Tenants and their people.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `tenant#{tenant}` | `tenant` | the [`Tenant`] |
//! | `tenant#{tenant}` | `user#{user}` | the [`User`] |
//! | `tenant#{tenant}` | `email#{address}` | `user_id`: the one user with this address |
//!
//! Reads are consistent: a suspended tenant and a user made a moment ago count at once.

use crate::{
    failure::failure,
    item::{from_item, s, to_item},
    transaction::{self, Outcome},
};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::{Client, operation::put_item::PutItemError};
use docuchat_domain::{
    Error, Result, TenantId, UserId,
    tenant::{Email, Tenant, User},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Condition of everything that must be new.
const ABSENT: &str = "attribute_not_exists(pk)";

/// The table of tenants and users.
#[derive(Debug, Clone)]
pub struct Identity {
    client: Client,
    table: String,
}

/// What lies under an address.
#[derive(Debug, Serialize, Deserialize)]
struct Pointer {
    user_id: UserId,
}

impl Identity {
    /// A store on this table (`IDENTITY_TABLE`).
    #[must_use]
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self { client: Client::new(config), table: table.into() }
    }

    /// A tenant.
    pub async fn tenant(&self, tenant: TenantId) -> Result<Option<Tenant>> {
        self.get(tenant, "tenant".into(), "reading a tenant").await
    }

    /// Makes a tenant; false if it was there already, and then it is left as it is.
    pub async fn create_tenant(&self, tenant: &Tenant) -> Result<bool> {
        let keys = [("pk", partition(tenant.tenant_id)), ("sk", "tenant".to_owned())];
        let written = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(tenant, &keys)?))
            .condition_expression(ABSENT)
            .send()
            .await;
        match written {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(failure("making a tenant", error)),
            },
        }
    }

    /// A person of a tenant.
    pub async fn user(&self, tenant: TenantId, user: UserId) -> Result<Option<User>> {
        self.get(tenant, user_key(user), "reading a user").await
    }

    /// The id of the person with this address: one read, whether there is one or not.
    pub async fn user_id_by_email(&self, tenant: TenantId, email: &Email) -> Result<Option<UserId>> {
        let pointer: Option<Pointer> = self.get(tenant, email_key(email), "reading an address").await?;
        Ok(pointer.map(|pointer| pointer.user_id))
    }

    /// The person with this address.
    pub async fn user_by_email(&self, tenant: TenantId, email: &Email) -> Result<Option<User>> {
        let Some(user_id) = self.user_id_by_email(tenant, email).await? else { return Ok(None) };
        match self.user(tenant, user_id).await? {
            Some(user) => Ok(Some(user)),
            // Both are written and removed in one transaction.
            None => Err(Error::internal(
                "reading a user",
                format!("an address points to user {user_id}, who is not there"),
            )),
        }
    }

    /// Makes a person together with the address, in one transaction. Whoever comes second for the same address gets
    /// the person that the first one made.
    pub async fn create_user(&self, tenant: TenantId, user: &User) -> Result<User> {
        let pk = || ("pk", partition(tenant));
        let pointer = to_item(&Pointer { user_id: user.user_id }, &[pk(), ("sk", email_key(&user.email))])?;
        let row = to_item(user, &[pk(), ("sk", user_key(user.user_id))])?;
        let items = vec![
            transaction::put(&self.table, pointer, ABSENT)?,
            transaction::put(&self.table, row, ABSENT)?,
        ];
        match transaction::write(&self.client, "making a user", items).await? {
            Outcome::Committed => Ok(user.clone()),
            Outcome::Refused => {
                let winner = self.user_by_email(tenant, &user.email).await?;
                winner
                    .ok_or_else(|| Error::internal("making a user", "refused, although the address is free"))
            }
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        tenant: TenantId,
        sk: String,
        what: &'static str,
    ) -> Result<Option<T>> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", s(partition(tenant)))
            .key("sk", s(sk))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| failure(what, e))?;
        output.item.map(from_item).transpose()
    }
}

fn partition(tenant: TenantId) -> String {
    format!("tenant#{tenant}")
}

fn user_key(user: UserId) -> String {
    format!("user#{user}")
}

fn email_key(email: &Email) -> String {
    format!("email#{}", email.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_survives_the_table() {
        let tenant: Tenant = serde_json::from_value(serde_json::json!({
            "tenant_id": "d0c0c4a7-0000-4000-8000-000000000001",
            "name": "Demo",
            "sign_up": "domains",
            "domains": ["example.com"],
            "created_at": "2026-01-01T00:00:00Z",
        }))
        .unwrap();
        let item =
            to_item(&tenant, &[("pk", partition(tenant.tenant_id)), ("sk", "tenant".to_owned())]).unwrap();
        assert_eq!(item["pk"], s("tenant#d0c0c4a7-0000-4000-8000-000000000001"));
        assert_eq!(item["status"], s("active"));
        assert_eq!(from_item::<Tenant>(item).unwrap(), tenant);
    }

    #[test]
    fn one_key_for_every_spelling_of_an_address() {
        let keys: Vec<_> = ["Sara@Example.com", " sara@example.COM "]
            .map(|text| email_key(&Email::parse(text).unwrap()))
            .into();
        assert_eq!(keys, ["email#sara@example.com", "email#sara@example.com"]);
    }
}
