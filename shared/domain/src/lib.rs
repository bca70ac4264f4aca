//! The words and rules of DocuChat: ids, entities, error kinds, limits, wire frames and the payloads that functions
//! exchange. Nothing here knows a network, a database or a runtime, so every rule is tested in microseconds.
//!
//! Invariant: this crate depends on no async runtime, no AWS SDK, no SQL driver and no HTTP crate.

pub mod artifact;
pub mod catalogue;
pub mod chat;
pub mod clock;
pub mod document;
pub mod error;
pub mod frame;
pub mod ids;
pub mod index;
pub mod ingestion;
pub mod limits;
pub mod tenant;
pub mod usage;

pub use clock::{Clock, Entropy, FixedClock, SystemClock, SystemEntropy};
pub use error::{Error, Kind, Result};
pub use ids::{AnswerId, CollectionId, DocumentId, SessionId, TenantId, UserId};
