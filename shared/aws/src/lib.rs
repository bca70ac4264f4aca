//! The AWS services behind DocuChat's ports, one cargo feature per service.
//!
//! Every store method takes the tenant first. "Not there" is an `Option`, never an error; a failure is a
//! [`docuchat_domain::Error`] whose kind says whether a retry may help.

pub mod config;
pub mod failure;

#[cfg(feature = "dynamodb")]
pub mod chat;
#[cfg(feature = "codes")]
pub mod codes;
#[cfg(feature = "connections")]
pub mod connections;
#[cfg(feature = "dynamodb")]
pub mod documents;
#[cfg(feature = "functions")]
pub mod functions;
#[cfg(feature = "health")]
pub mod health;
#[cfg(feature = "dynamodb")]
pub mod identity;
#[cfg(feature = "dynamodb")]
mod item;
#[cfg(feature = "mail")]
pub mod mail;
#[cfg(feature = "objects")]
pub mod objects;
#[cfg(feature = "queue")]
pub mod queue;
#[cfg(feature = "dynamodb")]
pub mod sockets;
#[cfg(feature = "dynamodb")]
mod transaction;
#[cfg(feature = "dynamodb")]
pub mod usage;

pub use config::config;
