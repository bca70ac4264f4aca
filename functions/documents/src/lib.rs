//! The routes under `/v1/files`: upload, list, look at and delete documents. What happens to a document in between is
//! the business of `docuchat-ingestion`.

pub mod create;
pub mod delete;
pub mod form;
pub mod get;
pub mod list;
pub mod view;

use docuchat_domain::Error;

/// The code of every answer about a document that is not there, was deleted, or is another tenant's.
const NOT_FOUND: &str = "document_not_found";

fn not_found() -> Error {
    Error::not_found(NOT_FOUND, "document")
}
