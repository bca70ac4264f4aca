//! The local stack of DocuChat, as a library: `cargo local` and the end-to-end tests start it, and both use it as an
//! outside client would.

pub mod client;
mod clock;
pub mod cloud;
mod error;
mod front_door;
mod functions;
mod home;
mod http;
pub mod logs;
pub mod mailbox;
mod models;
mod ports;
mod postgres;
mod process;
pub mod report;
mod running;
mod secrets;
mod services;
mod setup;
mod stack;
mod template;
pub mod tenant;
pub mod testing;

pub use client::{Answer, Client, Reply, Socket};
pub use clock::short_id;
pub use error::{Problem, Result};
pub use functions::{build, build_release, zipped_size};
pub use home::Home;
pub use logs::FunctionLog;
pub use models::Models;
pub use ports::Ports;
pub use running::Running;
pub use setup::{Tools, setup};
pub use stack::{Stack, StackOptions, delete_stack};
