//! From the bytes of an uploaded file to clean pages, and from pages to chunks for the search index.
//!
//! Everything here is pure and synchronous: no network, no clock of its own, no threads. The input is hostile: sizes,
//! depths and counts are bounded by [`Limits`], and nothing in this crate panics on purpose or indexes without a check.
//!
//! ```
//! use docuchat_text::{ChunkOptions, Limits, chunk, counter_for_model, extract, sniff};
//!
//! let bytes = b"The first sentence. The second sentence.";
//! let format = sniff(bytes, "notes.txt")?;
//! let document = extract(bytes, format, &Limits::default())?;
//! let chunks = chunk(&document.pages, &ChunkOptions::default(), counter_for_model("text-embedding-3-small"));
//! assert_eq!(chunks.len(), 1);
//! # Ok::<(), docuchat_text::TextError>(())
//! ```

mod chunk;
mod clean;
mod document;
mod error;
mod fold;
mod furniture;
mod markdown;
mod pdf;
mod plain;
mod sniff;
mod tokens;

pub use chunk::{Chunk, ChunkOptions, PAGE_SEPARATOR, chunk, join_pages};
pub use document::{Document, Format, Limits, Page, Pages, extract, pages};
pub use error::TextError;
pub use fold::fold;
pub use sniff::sniff;
pub use tokens::{Cl100k, O200k, TokenCounter, counter_for_model};
