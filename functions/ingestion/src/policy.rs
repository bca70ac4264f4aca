//! When a document is tried again, and what it says when it is not.

use docuchat_domain::{Entropy, Error, document::Document};
use std::time::Duration;

/// The first pause, doubled with every attempt.
const FIRST: Duration = Duration::from_secs(5);

/// The longest pause of our own choice.
const LONGEST: Duration = Duration::from_mins(5);

/// The longest pause that a service can ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(15);

/// The code of a document that was given up without a known cause: its workers died.
pub const INGEST_FAILED: &str = "ingest_failed";

/// The pause after the given attempt (from 1) failed for a reason that may pass: 5 s, 10 s, 20 s … 300 s, of which a
/// random half at most is spared, so that documents that failed together do not come back together. Longer if the
/// service said so.
#[must_use]
pub fn pause(attempt: u32, error: &Error, entropy: &dyn Entropy) -> Duration {
    let mut random = [0; 2];
    entropy.fill(&mut random);
    let ours = back_off(attempt, u16::from_le_bytes(random));
    error.retry_after().map_or(ours, |asked| ours.max(asked.min(LONGEST_ASKED)))
}

fn back_off(attempt: u32, random: u16) -> Duration {
    let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
    let whole = FIRST.saturating_mul(doubled).min(LONGEST);
    whole / 2 + (whole / 2).mul_f64(f64::from(random) / f64::from(u16::MAX))
}

/// The code and the sentence of a document that is given up: those of its last attempt, if that left any.
#[must_use]
pub fn last_cause(document: &Document) -> (String, String) {
    match (&document.error_code, &document.error_message) {
        (Some(code), Some(message)) => (code.clone(), message.clone()),
        _ => (INGEST_FAILED.to_owned(), "The document could not be taken in; upload it again.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docuchat_domain::SystemEntropy;

    #[test]
    fn pauses_double_within_their_bounds() {
        let bounds = |attempt| (back_off(attempt, 0).as_millis(), back_off(attempt, u16::MAX).as_millis());
        assert_eq!(bounds(1), (2_500, 5_000));
        assert_eq!(bounds(2), (5_000, 10_000));
        assert_eq!(bounds(4), (20_000, 40_000));
        assert_eq!(bounds(9), (150_000, 300_000));
        assert_eq!(bounds(u32::MAX), (150_000, 300_000));
    }

    #[test]
    fn a_service_may_ask_for_more() {
        let error = |asked| Error::unavailable("x", "y").with_retry_after(Duration::from_secs(asked));
        assert_eq!(pause(1, &error(60), &SystemEntropy), Duration::from_mins(1));
        assert_eq!(pause(1, &error(86_400), &SystemEntropy), Duration::from_mins(15));
        assert!(pause(5, &error(1), &SystemEntropy) >= Duration::from_secs(40));
    }
}
