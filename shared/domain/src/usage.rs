//! Counting tokens and money.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What a call, an hour or a window used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of prompts.
    #[serde(default)]
    pub tokens_in: u64,
    /// Tokens of answers.
    #[serde(default)]
    pub tokens_out: u64,
    /// Tokens that were embedded.
    #[serde(default)]
    pub tokens_embedded: u64,
    /// Questions answered, refused or failed.
    #[serde(default)]
    pub requests: u64,
    /// Cost in millionths of a US dollar.
    #[serde(default)]
    pub cost_micro_usd: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
        self.tokens_embedded += other.tokens_embedded;
        self.requests += other.requests;
        self.cost_micro_usd += other.cost_micro_usd;
    }
}

/// The hour that a moment falls into, as a sort key: `2026-11-21T09`.
#[must_use]
pub fn hour_of(time: Timestamp) -> String {
    time.to_string().chars().take(13).collect()
}

/// The first of the hours that make up the window ending now. A window of 24 hours is the running hour and the 23
/// before it.
#[must_use]
pub fn window_start(now: Timestamp, hours: u32) -> String {
    let back = SignedDuration::from_hours(i64::from(hours.saturating_sub(1)));
    hour_of(now.checked_sub(back).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_keys_that_sort() {
        let now: Timestamp = "2026-11-21T09:59:59.9Z".parse().unwrap();
        assert_eq!(hour_of(now), "2026-11-21T09");
        assert_eq!(window_start(now, 24), "2026-11-20T10");
        assert_eq!(window_start(now, 1), "2026-11-21T09");
    }
}
