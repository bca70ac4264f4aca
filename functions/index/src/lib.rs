//! The search index: the four `index-*` functions, the only ones that know PostgreSQL.
//!
//! Invariant: every statement names the tenant in its `WHERE` and runs in a transaction that called `app.enter`, so that
//! row-level security checks it a second time.

pub mod artifacts;
pub mod connection;
pub mod erase;
pub mod migrate;
pub mod search;
pub mod write;

#[cfg(test)]
mod testing;
