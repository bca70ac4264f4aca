//! The edge of every function: settings, logs, requests in, problems out, identity.
//!
//! A function's `main` reads its settings, builds the clients it needs and hands a handler to one of
//! `rest::run`, [`socket::run`], [`batch::run`] or [`invoke::run`]. These log exactly one summary line per
//! invocation and turn a [`docuchat_domain::Error`] into what the trigger understands.

pub mod batch;
pub mod env;
#[cfg(feature = "tokens")]
pub mod identity;
pub mod invoke;
pub mod logs;
#[cfg(feature = "rest")]
pub mod problem;
#[cfg(feature = "rest")]
pub mod rest;
pub mod socket;

pub use env::Env;
pub use lambda_runtime::Error as RuntimeError;
