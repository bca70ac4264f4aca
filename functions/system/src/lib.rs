//! Whether the service and what it stands on are there. Public: no answer tells a name, an address or a cause.

pub mod health;
pub mod root;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
