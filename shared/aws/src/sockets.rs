//! Open WebSocket connections: one row per connection (`pk` = connection id), found by person through the index
//! `by_user`.

use crate::{
    failure::failure,
    item::{from_item, n, s, to_item},
};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use docuchat_domain::{Result, TenantId, UserId, tenant::Role};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a connection can live at most: API Gateway ends it after two hours.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(2);

/// The most connections of one person that are looked at.
const MOST_OF_USER: i32 = 50;

/// The table of open connections.
#[derive(Debug, Clone)]
pub struct Sockets {
    client: Client,
    table: String,
}

/// A connection and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// API Gateway's id of it.
    pub connection_id: String,
    /// The tenant.
    pub tenant_id: TenantId,
    /// The person.
    pub user_id: UserId,
    /// What the person may do.
    pub role: Role,
    /// When it was opened.
    pub connected_at: Timestamp,
    /// When it counts as gone, whatever the gateway says.
    pub expires_at: Timestamp,
}

#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    socket: &'a Socket,
    user_key: String,
}

impl Sockets {
    /// A store on this table (`CONNECTIONS_TABLE`).
    #[must_use]
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self { client: Client::new(config), table: table.into() }
    }

    /// Notes a connection.
    pub async fn put(&self, socket: &Socket) -> Result<()> {
        let row = Row { socket, user_key: user_key(socket.tenant_id, socket.user_id) };
        let mut item = to_item(&row, &[("pk", socket.connection_id.clone())])?;
        item.insert("ttl".to_owned(), n(socket.expires_at.as_second()));
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .send()
            .await
            .map_err(|e| failure("noting a connection", e))?;
        Ok(())
    }

    /// Forgets a connection; nothing happens if it is not there.
    pub async fn remove(&self, connection_id: &str) -> Result<()> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .key("pk", s(connection_id))
            .send()
            .await
            .map_err(|e| failure("forgetting a connection", e))?;
        Ok(())
    }

    /// Whose connection this is. The one read that does not begin with a tenant: the connection is what names it.
    pub async fn get(&self, connection_id: &str, now: Timestamp) -> Result<Option<Socket>> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", s(connection_id))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| failure("reading a connection", e))?;
        let socket: Option<Socket> = output.item.map(from_item).transpose()?;
        // DynamoDB removes expired rows within days, not at once.
        Ok(socket.filter(|socket| socket.expires_at > now))
    }

    /// A person's open connections.
    pub async fn of_user(&self, tenant: TenantId, user: UserId, now: Timestamp) -> Result<Vec<Socket>> {
        let output = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_user")
            .key_condition_expression("user_key = :user")
            .expression_attribute_values(":user", s(user_key(tenant, user)))
            .limit(MOST_OF_USER)
            .send()
            .await
            .map_err(|e| failure("finding a person's connections", e))?;
        let sockets: Vec<Socket> =
            output.items.unwrap_or_default().into_iter().map(from_item).collect::<Result<_>>()?;
        Ok(sockets.into_iter().filter(|socket| socket.expires_at > now).collect())
    }
}

fn user_key(tenant: TenantId, user: UserId) -> String {
    format!("{tenant}#{user}")
}
