//! Typed ids. All are UUIDs; those made here are version 7 (RFC 9562), so that sorting by id sorts by time of creation.

use crate::clock::{Clock, Entropy};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// A text that is not a UUID in its hyphenated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, ordered after every id made in an earlier millisecond.
            #[must_use]
            pub fn generate(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
                Self(uuid_v7(clock, entropy))
            }

            /// Takes over an existing UUID.
            #[must_use]
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID itself.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Accepts the hyphenated form only: one id has one spelling in URLs, keys and logs.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if text.len() != 36 {
                    return Err(InvalidId);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId)
            }
        }
    };
}

id!(
    /// An organization: the owner of users, documents, sessions and usage.
    TenantId
);
id!(
    /// A person within one tenant.
    UserId
);
id!(
    /// An uploaded file, over all its generations.
    DocumentId
);
id!(
    /// A set of documents that can be searched together.
    CollectionId
);
id!(
    /// A conversation.
    SessionId
);
id!(
    /// One question and the answer to it.
    AnswerId
);

fn uuid_v7(clock: &dyn Clock, entropy: &dyn Entropy) -> Uuid {
    let mut random = [0; 10];
    entropy.fill(&mut random);
    let millis = u64::try_from(clock.now().as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{FixedClock, SystemEntropy};
    use std::time::Duration;

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let clock = FixedClock::at("2026-01-01T00:00:00Z");
        let earlier = DocumentId::generate(&clock, &SystemEntropy);
        clock.advance(Duration::from_millis(1));
        assert!(earlier < DocumentId::generate(&clock, &SystemEntropy));
    }

    #[test]
    fn one_spelling_only() {
        let id = "d0c0c4a7-0000-4000-8000-000000000001";
        assert_eq!(id.parse::<TenantId>().unwrap().to_string(), id);
        for other in ["", "d0c0c4a7000040008000000000000001", "{d0c0c4a7-0000-4000-8000-000000000001}", "x"] {
            assert_eq!(other.parse::<TenantId>(), Err(InvalidId), "{other}");
        }
    }
}
