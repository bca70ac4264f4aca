//! What was used, by hour and by answer.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `{tenant}#{user}` | `log#{answer}#{attempt}` | one [`LogEntry`] with its [`Usage`] |
//! | `{tenant}#{user}` | `hour#2026-11-21T09` | the person's counters of that hour (UTC) |
//! | `{tenant}` | `hour#2026-11-21T09` | the tenant's counters of that hour |

use crate::{
    failure::failure,
    item::{from_item, n, s, to_item},
    transaction::{self, Outcome},
};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    types::{TransactWriteItem, Update},
};
use docuchat_domain::{
    AnswerId, Result, TenantId, UserId,
    usage::{Usage, hour_of, window_start},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long counters and log are kept, in seconds: 400 days, so that a month can be compared with the same month of the
/// year before.
const KEPT_SECONDS: i64 = 400 * 24 * 3600;

/// The table of counters and the log.
#[derive(Debug, Clone)]
pub struct UsageStore {
    client: Client,
    table: String,
}

/// One model call, as the log keeps it. What it used stands beside it as a [`Usage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The answer.
    pub answer_id: AnswerId,
    /// Which try at that answer, from 1. Answer and attempt together are recorded once.
    pub attempt: u32,
    /// The chat model; empty when none was called, as in a refusal.
    pub model: String,
    /// From taking the question up to its end, in milliseconds.
    pub latency_ms: u64,
    /// From taking the question up to the first piece of text, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// Whether it ended well; a refusal did.
    pub success: bool,
    /// Why it did not, as a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// When it ended. Its hour is the one that is counted.
    pub at: Timestamp,
}

/// A log entry as it lies in the table.
#[derive(Debug, Serialize)]
struct LogRow<'a> {
    tenant_id: TenantId,
    user_id: UserId,
    #[serde(flatten)]
    entry: &'a LogEntry,
    #[serde(flatten)]
    usage: &'a Usage,
    ttl: i64,
}

/// The counters of one hour.
#[derive(Debug, Deserialize)]
struct HourRow {
    sk: String,
    #[serde(flatten)]
    usage: Usage,
}

impl UsageStore {
    /// A store on this table (`USAGE_TABLE`).
    #[must_use]
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self { client: Client::new(config), table: table.into() }
    }

    /// Logs a call and adds it to the hours of the person and of the tenant, all in one transaction. False, and nothing
    /// changed, when this answer and attempt were recorded before.
    pub async fn record(
        &self,
        tenant: TenantId,
        user: UserId,
        entry: &LogEntry,
        usage: &Usage,
    ) -> Result<bool> {
        let ttl = entry.at.as_second() + KEPT_SECONDS;
        let person = partition(tenant, Some(user));
        let sk = format!("log#{}#{}", entry.answer_id, entry.attempt);
        let row = LogRow { tenant_id: tenant, user_id: user, entry, usage, ttl };
        let row = to_item(&row, &[("pk", person.clone()), ("sk", sk)])?;
        let hour = hour_key(&hour_of(entry.at));
        let items = vec![
            transaction::put(&self.table, row, "attribute_not_exists(pk)")?,
            self.addition(person, &hour, usage, ttl)?,
            self.addition(partition(tenant, None), &hour, usage, ttl)?,
        ];
        let outcome = transaction::write(&self.client, "recording usage", items).await?;
        Ok(outcome == Outcome::Committed)
    }

    /// What a person, or with `None` the whole tenant, used in the running hour and the `hours - 1` before it.
    pub async fn window(
        &self,
        tenant: TenantId,
        user: Option<UserId>,
        now: Timestamp,
        hours: u32,
    ) -> Result<Usage> {
        let [usage] = self.windows(tenant, user, now, [hours]).await?;
        Ok(usage)
    }

    /// Several windows that all end now, from one consistent query over the longest.
    pub async fn windows<const N: usize>(
        &self,
        tenant: TenantId,
        user: Option<UserId>,
        now: Timestamp,
        hours: [u32; N],
    ) -> Result<[Usage; N]> {
        let longest = hours.iter().copied().max().unwrap_or(0);
        let mut rows = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", s(partition(tenant, user)))
            .expression_attribute_values(":first", s(hour_key(&window_start(now, longest))))
            .expression_attribute_values(":last", s(hour_key(&hour_of(now))))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut sums = Sums::new(now, hours);
        while let Some(row) = rows.next().await {
            sums.add(&from_item(row.map_err(|e| failure("reading usage", e))?)?);
        }
        Ok(sums.usage)
    }

    fn addition(&self, pk: String, hour: &str, usage: &Usage, ttl: i64) -> Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(&self.table)
            .key("pk", s(pk))
            .key("sk", s(hour))
            .update_expression(
                "SET #ttl = :ttl ADD tokens_in :tokens_in, tokens_out :tokens_out, tokens_embedded :tokens_embedded, \
                 requests :requests, cost_micro_usd :cost",
            )
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", n(ttl))
            .expression_attribute_values(":tokens_in", n(usage.tokens_in))
            .expression_attribute_values(":tokens_out", n(usage.tokens_out))
            .expression_attribute_values(":tokens_embedded", n(usage.tokens_embedded))
            .expression_attribute_values(":requests", n(usage.requests))
            .expression_attribute_values(":cost", n(usage.cost_micro_usd))
            .build()
            .map_err(transaction::incomplete)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// Adds hours up into windows that end at the same time.
struct Sums<const N: usize> {
    first: [String; N],
    usage: [Usage; N],
}

impl<const N: usize> Sums<N> {
    fn new(now: Timestamp, hours: [u32; N]) -> Self {
        Self { first: hours.map(|hours| hour_key(&window_start(now, hours))), usage: [Usage::default(); N] }
    }

    fn add(&mut self, hour: &HourRow) {
        for (first, usage) in self.first.iter().zip(&mut self.usage) {
            if hour.sk >= *first {
                *usage += hour.usage;
            }
        }
    }
}

fn partition(tenant: TenantId, user: Option<UserId>) -> String {
    user.map_or_else(|| tenant.to_string(), |user| format!("{tenant}#{user}"))
}

fn hour_key(hour: &str) -> String {
    format!("hour#{hour}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;

    fn hour(sk: &str, requests: u64) -> HourRow {
        HourRow { sk: sk.to_owned(), usage: Usage { requests, ..Usage::default() } }
    }

    #[test]
    fn an_hour_counts_in_every_window_that_holds_it() {
        let now: Timestamp = "2026-11-21T09:30:00Z".parse().unwrap();
        let mut sums = Sums::new(now, [1, 24, 168]);
        sums.add(&hour("hour#2026-11-21T09", 1));
        sums.add(&hour("hour#2026-11-20T10", 10));
        sums.add(&hour("hour#2026-11-20T09", 100));
        assert_eq!(sums.usage.map(|usage| usage.requests), [1, 11, 111]);
    }

    #[test]
    fn rows_read_back() {
        let item = Item::from([
            ("pk".to_owned(), s("x")),
            ("sk".to_owned(), s("hour#2026-11-21T09")),
            ("ttl".to_owned(), n(1)),
            ("tokens_in".to_owned(), n(7)),
            ("cost_micro_usd".to_owned(), n(u64::from(u32::MAX) * 1000)),
        ]);
        let row: HourRow = from_item(item).unwrap();
        assert_eq!((row.usage.tokens_in, row.usage.requests), (7, 0));
        assert_eq!(row.usage.cost_micro_usd, u64::from(u32::MAX) * 1000);
    }

    #[test]
    fn a_log_row_holds_entry_and_usage() {
        let tenant = "d0c0c4a7-0000-4000-8000-000000000001".parse().unwrap();
        let user = "d0c0c4a7-0000-4000-8000-000000000002".parse().unwrap();
        let entry = LogEntry {
            answer_id: "d0c0c4a7-0000-4000-8000-000000000003".parse().unwrap(),
            attempt: 1,
            model: "m".into(),
            latency_ms: 5,
            first_token_ms: None,
            success: true,
            error_code: None,
            at: Timestamp::UNIX_EPOCH,
        };
        let usage = Usage { tokens_out: 3, ..Usage::default() };
        let row = LogRow { tenant_id: tenant, user_id: user, entry: &entry, usage: &usage, ttl: 9 };
        let item = to_item(&row, &[]).unwrap();
        assert_eq!((&item["tokens_out"], &item["attempt"], &item["ttl"]), (&n(3), &n(1), &n(9)));
        assert!(!item.contains_key("error_code"));
        assert_eq!(from_item::<LogEntry>(item).unwrap(), entry);
    }
}
