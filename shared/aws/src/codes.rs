//! One-time codes for signing in. Neither an address nor a code is ever stored: only keyed hashes of them are.
//!
//! One item for each address of a tenant, with `pk` = `{tenant}#{hex HMAC-SHA-256 of the address}`:
//!
//! | attribute | type | holds |
//! |---|---|---|
//! | `code_hash` | B | HMAC-SHA-256 of the code, bound to the item's key |
//! | `expires_at` | N | end of the code's life, in seconds since 1970 |
//! | `attempts` | N | guesses so far |
//! | `redeemed` | BOOL | whether the code was used |
//! | `sent_1` … `sent_5` | N | times of the last [`CODES_PER_WINDOW`] codes, oldest first, in seconds since 1970; 0 for none |
//! | `ttl` | N | when DynamoDB may drop the item |
//!
//! DynamoDB drops expired items only within days, so every rule is in a condition and `ttl` only tidies up.

use crate::{
    failure::failure,
    item::{Item, n, s},
};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    operation::update_item::UpdateItemError,
    primitives::Blob,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use docuchat_domain::{
    Error, Result, TenantId,
    limits::{CODE_ATTEMPTS, CODE_SECONDS, CODE_WINDOW_SECONDS, CODES_PER_WINDOW},
    tenant::Email,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use std::{fmt, fmt::Write as _, time::Duration};
use subtle::ConstantTimeEq as _;

/// A code takes a guess while it is there, unused, alive and not guessed at too often.
const OPEN: &str = "attribute_exists(pk) AND redeemed = :false AND expires_at > :now AND attempts < :limit";

/// The table of codes.
#[derive(Clone)]
pub struct Codes {
    client: Client,
    table: String,
    key: Hmac<Sha256>,
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codes").field("table", &self.table).finish_non_exhaustive()
    }
}

/// What became of a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    /// It was right. The code is used up: no other call gets this answer for it.
    Accepted,
    /// Wrong, expired, used or never asked for.
    Refused,
    /// The code was guessed at [`CODE_ATTEMPTS`] times and takes no more, not even the right one.
    Exhausted {
        /// When it expires anyway.
        after: Duration,
    },
}

impl Codes {
    /// A store on this table (`CODES_TABLE`) with the key of the hashes (`CODE_SECRET`).
    pub fn new(config: &SdkConfig, table: impl Into<String>, secret: &str) -> Result<Self> {
        Ok(Self { client: Client::new(config), table: table.into(), key: hash_key(secret)? })
    }

    /// Makes this the only valid code of an address, and says whether it may be mailed: false when
    /// [`CODES_PER_WINDOW`] codes were made within [`CODE_WINDOW_SECONDS`]; then the last of them stays valid.
    ///
    /// One conditional write, so that racing calls cannot pass the limit together. The window slides: each code made
    /// pushes the oldest of the remembered times out, and the oldest must have left the window.
    pub async fn issue(&self, tenant: TenantId, email: &Email, code: &str, now: Timestamp) -> Result<bool> {
        let pk = partition(&self.key, tenant, email);
        let now = now.as_second();
        let written = self
            .client
            .update_item()
            .table_name(&self.table)
            .update_expression(issue_expression())
            .condition_expression("attribute_not_exists(pk) OR sent_1 <= :window_start")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(
                ":hash",
                AttributeValue::B(Blob::new(code_hash(&self.key, &pk, code))),
            )
            .expression_attribute_values(":expires_at", n(now + CODE_SECONDS))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":false", AttributeValue::Bool(false))
            .expression_attribute_values(":now", n(now))
            .expression_attribute_values(":window_start", n(now - CODE_WINDOW_SECONDS))
            .expression_attribute_values(":ttl", n(now + CODE_WINDOW_SECONDS.max(CODE_SECONDS)))
            .key("pk", s(pk))
            .send()
            .await;
        match written {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(failure("storing a code", error)),
            },
        }
    }

    /// Uses a code up.
    ///
    /// The guess is counted before it is compared, in one write with every other rule, so that racing guesses cannot
    /// pass the limit together. Of racing right guesses the second write lets one through.
    pub async fn redeem(
        &self,
        tenant: TenantId,
        email: &Email,
        code: &str,
        now: Timestamp,
    ) -> Result<Redeemed> {
        let pk = partition(&self.key, tenant, email);
        let given = code_hash(&self.key, &pk, code);
        let counted = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(&pk))
            .update_expression("SET attempts = attempts + :one")
            .condition_expression(OPEN)
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":false", AttributeValue::Bool(false))
            .expression_attribute_values(":now", n(now.as_second()))
            .expression_attribute_values(":limit", n(CODE_ATTEMPTS))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let item = match counted {
            Ok(output) => output.attributes.unwrap_or_default(),
            Err(error) => {
                return match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                        Ok(why_closed(refused.item(), now))
                    }
                    _ => Err(failure("checking a code", error)),
                };
            }
        };
        let stored = match item.get("code_hash") {
            Some(AttributeValue::B(hash)) => hash.as_ref(),
            _ => return Err(Error::internal("checking a code", "the item holds no hash")),
        };
        if !bool::from(stored.ct_eq(given.as_slice())) {
            return Ok(Redeemed::Refused);
        }
        self.use_up(pk, given, now).await
    }

    /// The same hash is asked for, because a new code may have come in between.
    async fn use_up(&self, pk: String, hash: Vec<u8>, now: Timestamp) -> Result<Redeemed> {
        let written = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(pk))
            .update_expression("SET redeemed = :true, redeemed_at = :now")
            .condition_expression("redeemed = :false AND code_hash = :hash")
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":false", AttributeValue::Bool(false))
            .expression_attribute_values(":now", n(now.as_second()))
            .expression_attribute_values(":hash", AttributeValue::B(Blob::new(hash)))
            .send()
            .await;
        match written {
            Ok(_) => Ok(Redeemed::Accepted),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(Redeemed::Refused),
                _ => Err(failure("using a code up", error)),
            },
        }
    }
}

/// Why the item, as it was, took no guess. Only a code that would still be good is called exhausted.
fn why_closed(item: Option<&Item>, now: Timestamp) -> Redeemed {
    let number = |name: &str| -> Option<i64> { item?.get(name)?.as_n().ok()?.parse().ok() };
    let redeemed = item.and_then(|item| item.get("redeemed")).and_then(|value| value.as_bool().ok().copied());
    let (Some(false), Some(attempts), Some(expires_at)) =
        (redeemed, number("attempts"), number("expires_at"))
    else {
        return Redeemed::Refused;
    };
    let left = expires_at.saturating_sub(now.as_second());
    match u64::try_from(left) {
        Ok(seconds) if seconds > 0 && attempts >= i64::from(CODE_ATTEMPTS) => {
            Redeemed::Exhausted { after: Duration::from_secs(seconds) }
        }
        _ => Redeemed::Refused,
    }
}

/// Sets a new code and moves every remembered time one place down. DynamoDB evaluates all right-hand sides against the
/// item as it was before the update.
fn issue_expression() -> String {
    let mut text = String::from(
        "SET code_hash = :hash, expires_at = :expires_at, attempts = :zero, redeemed = :false, #ttl = :ttl",
    );
    for place in 1..CODES_PER_WINDOW {
        // Writing to a String cannot fail.
        let _ = write!(text, ", sent_{place} = if_not_exists(sent_{}, :zero)", place + 1);
    }
    let _ = write!(text, ", sent_{CODES_PER_WINDOW} = :now");
    text
}

fn hash_key(secret: &str) -> Result<Hmac<Sha256>> {
    Hmac::new_from_slice(secret.as_bytes()).map_err(|e| Error::internal("reading CODE_SECRET", e.to_string()))
}

/// Hashes the parts, each preceded by its length, so that no two lists of parts are the same bytes.
fn keyed_hash(key: &Hmac<Sha256>, parts: [&str; 3]) -> Vec<u8> {
    let mut mac = key.clone();
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().to_vec()
}

fn partition(key: &Hmac<Sha256>, tenant: TenantId, email: &Email) -> String {
    let tenant = tenant.to_string();
    let mut text = format!("{tenant}#");
    for byte in keyed_hash(key, ["email", &tenant, email.as_str()]) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn code_hash(key: &Hmac<Sha256>, pk: &str, code: &str) -> Vec<u8> {
    keyed_hash(key, ["code", pk, code])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn item(redeemed: bool, attempts: u32, expires_at: i64) -> Item {
        Item::from([
            ("redeemed".to_owned(), AttributeValue::Bool(redeemed)),
            ("attempts".to_owned(), n(attempts)),
            ("expires_at".to_owned(), n(expires_at)),
        ])
    }

    #[test]
    fn only_a_living_unused_code_is_exhausted() {
        let exhausted = Redeemed::Exhausted { after: Duration::from_mins(1) };
        assert_eq!(why_closed(Some(&item(false, CODE_ATTEMPTS, 60)), NOW), exhausted);
        for closed in
            [item(true, CODE_ATTEMPTS, 60), item(false, CODE_ATTEMPTS, 0), item(false, 1, -1), Item::new()]
        {
            assert_eq!(why_closed(Some(&closed), NOW), Redeemed::Refused);
        }
        assert_eq!(why_closed(None, NOW), Redeemed::Refused);
    }

    #[test]
    fn the_window_slides_over_the_last_five_codes() {
        let expression = issue_expression();
        let expected = ", sent_1 = if_not_exists(sent_2, :zero), sent_2 = if_not_exists(sent_3, :zero), \
                        sent_3 = if_not_exists(sent_4, :zero), sent_4 = if_not_exists(sent_5, :zero), sent_5 = :now";
        assert!(expression.ends_with(expected), "{expression}");
    }

    #[test]
    fn hashes_depend_on_secret_tenant_address_and_code() {
        let key = hash_key("a secret of at least thirty-two bytes").unwrap();
        let other_key = hash_key("another secret of thirty-two bytes..").unwrap();
        let tenant: TenantId = "d0c0c4a7-0000-4000-8000-000000000001".parse().unwrap();
        let other_tenant: TenantId = "d0c0c4a7-0000-4000-8000-000000000002".parse().unwrap();
        let email = Email::parse("sara@example.com").unwrap();
        let pk = partition(&key, tenant, &email);
        assert_eq!(pk.len(), 36 + 1 + 64);
        assert!(pk.starts_with("d0c0c4a7-0000-4000-8000-000000000001#") && !pk.contains("sara"));
        assert_ne!(pk, partition(&other_key, tenant, &email));
        // The part after the tenant differs too: one address cannot be followed from tenant to tenant.
        assert_ne!(
            pk.split_once('#').unwrap().1,
            partition(&key, other_tenant, &email).split_once('#').unwrap().1
        );
        assert_ne!(code_hash(&key, &pk, "123456"), code_hash(&key, &pk, "123457"));
        assert_ne!(keyed_hash(&key, ["code", "ab", "c"]), keyed_hash(&key, ["code", "a", "bc"]));
    }
}
