//! Errors as problem details (RFC 9457).

use crate::socket::status_of;
use docuchat_domain::{Error, Kind};
use serde::Serialize;

/// The body of every error response, with the media type `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// A name for the kind of problem: `urn:docuchat:problem:{code}`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request, for people.
    pub detail: String,
    /// Stable code, for programs.
    pub code: &'static str,
    /// The request, for support.
    pub request_id: String,
    /// The JSON path of the wrong field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Problem {
    /// The problem that an error shows to the caller: never its source.
    #[must_use]
    pub fn of(error: &Error, request_id: &str) -> Self {
        Self {
            kind: format!("urn:docuchat:problem:{}", error.code()),
            title: title(error.kind()),
            status: status_of(error.kind()),
            detail: error.detail().to_owned(),
            code: error.code(),
            request_id: request_id.to_owned(),
            path: error.path().map(str::to_owned),
        }
    }
}

const fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "Bad Request",
        Kind::Unauthenticated => "Unauthorized",
        Kind::Forbidden => "Forbidden",
        Kind::NotFound => "Not Found",
        Kind::Conflict => "Conflict",
        Kind::TooLarge => "Content Too Large",
        Kind::Unsupported => "Unsupported Media Type",
        Kind::RateLimited => "Too Many Requests",
        Kind::Unavailable => "Service Unavailable",
        Kind::Internal => "Internal Server Error",
    }
}
