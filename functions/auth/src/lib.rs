//! Signing in with a code by e-mail.
//!
//! Invariant: no answer, status or duration tells whether an address belongs to a user, and no address or code is logged.

pub mod code;
pub mod mail;
pub mod request_code;
pub mod verify_code;
