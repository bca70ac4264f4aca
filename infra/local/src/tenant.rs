//! Tenants of the local stack, written straight into the Identity table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{cloud::Cloud, error::Result};

/// The tenant that every local stack has; anybody may sign up in it.
pub const DEMO_TENANT: Uuid = Uuid::from_u128(0xd0c0_c4a7_0000_4000_8000_0000_0000_0001);

/// Who may sign up in a tenant by asking for a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignUp {
    /// Anybody.
    Open,
    /// Addresses of these domains.
    Domains(Vec<String>),
    /// Nobody: users are created by an administrator.
    Closed,
}

/// Writes a tenant; one that already exists stays as it is.
pub async fn add(
    cloud: &Cloud,
    identity_table: &str,
    id: Uuid,
    name: &str,
    sign_up: &SignUp,
) -> Result<bool> {
    cloud.put_new(identity_table, item(id, name, sign_up, &crate::clock::now())).await
}

/// Creates a tenant with a new id.
pub async fn create(cloud: &Cloud, identity_table: &str, name: &str, sign_up: &SignUp) -> Result<Uuid> {
    let id = crate::clock::new_id();
    add(cloud, identity_table, id, name, sign_up).await?;
    Ok(id)
}

fn item(id: Uuid, name: &str, sign_up: &SignUp, now: &str) -> HashMap<String, AttributeValue> {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let (kind, domains) = match sign_up {
        SignUp::Open => ("open", Vec::new()),
        SignUp::Domains(domains) => {
            ("domains", domains.iter().map(|domain| text(&domain.to_lowercase())).collect())
        }
        SignUp::Closed => ("closed", Vec::new()),
    };
    HashMap::from([
        ("pk".to_owned(), text(&format!("tenant#{id}"))),
        ("sk".to_owned(), text("tenant")),
        ("tenant_id".to_owned(), text(&id.to_string())),
        ("name".to_owned(), text(name)),
        ("sign_up".to_owned(), text(kind)),
        ("domains".to_owned(), AttributeValue::L(domains)),
        ("status".to_owned(), text("active")),
        ("created_at".to_owned(), text(now)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_item_has_the_shape_of_the_identity_table() {
        let sign_up = SignUp::Domains(vec!["Example.COM".to_owned()]);
        let item = item(DEMO_TENANT, "Demo", &sign_up, "2026-11-21T09:00:00Z");
        assert_eq!(item["pk"], AttributeValue::S("tenant#d0c0c4a7-0000-4000-8000-000000000001".into()));
        assert_eq!(item["sign_up"], AttributeValue::S("domains".into()));
        assert_eq!(item["domains"], AttributeValue::L(vec![AttributeValue::S("example.com".into())]));
        assert_eq!(item.len(), 8);
    }
}
