//! From an uploaded object to a searchable document, and back to nothing.
//!
//! `ingest` works, `ingest-dead-letter` closes what was given up, `ingest-reaper` finds what went silent. Events and
//! messages come at least once and in any order; what keeps a second delivery harmless is the row: a worker claims it
//! by a conditional write, proves its lease at every further one, and a document ends in `ready` or `failed` once.

pub mod artifact;
pub mod dead_letter;
pub mod erase;
pub mod ingest;
pub mod message;
pub mod policy;
pub mod progress;
pub mod reaper;
pub mod steps;
