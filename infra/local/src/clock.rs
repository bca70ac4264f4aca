//! The one place of this crate that reads the wall clock and the system's entropy.

use jiff::{Timestamp, Unit};
use uuid::Uuid;

/// The time now, in RFC 3339 with seconds.
#[expect(clippy::disallowed_methods, reason = "a development tool: nothing here is tested against the time")]
pub(crate) fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}

/// The time now, for signatures.
#[expect(clippy::disallowed_methods, reason = "the emulator compares it with its own clock")]
pub(crate) fn system_time() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// A random id.
#[expect(clippy::disallowed_methods, reason = "a development tool: nothing here is tested against this id")]
pub(crate) fn new_id() -> Uuid {
    Uuid::new_v4()
}

/// Eight random hexadecimal digits, for names that must not repeat.
#[must_use]
pub fn short_id() -> String {
    new_id().simple().to_string().chars().take(8).collect()
}
