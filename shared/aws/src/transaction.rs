//! All or nothing over several items, with the cancellations that pass repeated.

use crate::{failure::failure, item::Item};
use aws_sdk_dynamodb::{
    Client,
    error::{BuildError, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{Put, TransactWriteItem},
};
use aws_smithy_async::rt::sleep::{AsyncSleep as _, TokioSleep};
use docuchat_domain::{Entropy as _, Error, Result, SystemEntropy};
use std::time::Duration;

/// How often a transaction is tried that only met another one on the same items. With the pauses below it gives up
/// after about two seconds.
const ATTEMPTS: u32 = 8;

/// The pause after the first attempt; it doubles each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every item was written.
    Committed,
    /// Nothing was written, because a condition did not hold.
    Refused,
}

/// Writes all of the items or none. A conflict with another transaction is repeated: the SDK does not, because the
/// cancellation is not an error of transport.
pub(crate) async fn write(
    client: &Client,
    what: &'static str,
    items: Vec<TransactWriteItem>,
) -> Result<Outcome> {
    let mut attempt = 1;
    loop {
        // A token of its own for each attempt comes from the SDK: a lost answer does not make a second write.
        let sent = client.transact_write_items().set_transact_items(Some(items.clone())).send().await;
        let Err(error) = sent else { return Ok(Outcome::Committed) };
        match cancellation(&error) {
            Some(Cancellation::Condition) => return Ok(Outcome::Refused),
            Some(Cancellation::Passing) if attempt < ATTEMPTS => {
                TokioSleep::new().sleep(pause(attempt, random_byte())).await;
                attempt += 1;
            }
            Some(Cancellation::Passing) => {
                return Err(Error::unavailable(what, format!("still in conflict after {ATTEMPTS} attempts")));
            }
            None => return Err(failure(what, error)),
        }
    }
}

/// A put under a condition.
pub(crate) fn put(table: &str, item: Item, condition: &str) -> Result<TransactWriteItem> {
    let put = Put::builder().table_name(table).set_item(Some(item)).condition_expression(condition).build();
    Ok(TransactWriteItem::builder().put(put.map_err(incomplete)?).build())
}

/// A request that lacks a required part: a defect of ours.
#[expect(clippy::needless_pass_by_value, reason = "it is an argument of map_err")]
pub(crate) fn incomplete(error: BuildError) -> Error {
    Error::internal("building a request", error.to_string())
}

#[derive(Debug, PartialEq, Eq)]
enum Cancellation {
    /// A condition did not hold. It counts before a conflict on another item: repeating would not change it.
    Condition,
    /// A conflict or a throttle.
    Passing,
}

fn cancellation<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<Cancellation> {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
    else {
        return None;
    };
    classify(cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code()))
}

/// The reasons are one code for each item, `None` where the item is not the cause.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
fn classify<'a>(reasons: impl Iterator<Item = &'a str>) -> Option<Cancellation> {
    let mut found = None;
    for reason in reasons {
        match reason {
            "ConditionalCheckFailed" => return Some(Cancellation::Condition),
            "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded" => {
                found = Some(Cancellation::Passing);
            }
            _ => {}
        }
    }
    found
}

/// Half of the pause is fixed, half is chance, so that two writers in conflict do not meet again.
fn pause(attempt: u32, chance: u8) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_PAUSE);
    full / 2 + full / 2 * u32::from(chance) / 255
}

fn random_byte() -> u8 {
    let mut byte = [0];
    SystemEntropy.fill(&mut byte);
    u8::from_be_bytes(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        assert_eq!(classify(["None", "TransactionConflict"].into_iter()), Some(Cancellation::Passing));
        let both = ["TransactionConflict", "ConditionalCheckFailed"];
        assert_eq!(classify(both.into_iter()), Some(Cancellation::Condition));
        assert_eq!(classify(["None", "ValidationError"].into_iter()), None);
    }

    #[test]
    fn pauses_grow_and_stay_within_two_seconds() {
        assert_eq!(pause(1, 0), Duration::from_millis(5));
        assert_eq!(pause(1, 255), Duration::from_millis(10));
        let longest: Duration = (1..ATTEMPTS).map(|attempt| pause(attempt, 255)).sum();
        assert!(longest < Duration::from_secs(2), "{longest:?}");
    }
}
