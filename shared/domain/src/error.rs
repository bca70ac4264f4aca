//! One error type for every rule and port: a kind that decides the status, a stable code that clients may rely on, a
//! public sentence, and a source that only the log sees.

use std::{error::Error as StdError, fmt};

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request breaks a rule: the caller must change it (400).
    Invalid,
    /// No, or no valid, proof of identity (401).
    Unauthenticated,
    /// Known, but not allowed (403).
    Forbidden,
    /// Not there, or another tenant's: the two are not told apart (404).
    NotFound,
    /// The state does not allow it now (409).
    Conflict,
    /// The body is larger than the route takes (413).
    TooLarge,
    /// The content type or the kind of file is not supported (415).
    Unsupported,
    /// Too often; `retry_after` says when to come again (429).
    RateLimited,
    /// A dependency is throttled, slow or down: the same request may succeed later (503).
    Unavailable,
    /// A defect of ours (500).
    Internal,
}

impl Kind {
    /// Whether the same request may succeed later without any change.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable)
    }
}

/// A failure in two languages: `code` and `detail` are for the caller, the source is for the log.
pub struct Error {
    kind: Kind,
    code: &'static str,
    detail: String,
    path: Option<String>,
    retry_after: Option<std::time::Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of anything that can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with a stable `snake_case` code and a sentence that is safe to show to the caller.
    pub fn new(kind: Kind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, code, detail: detail.into(), path: None, retry_after: None, source: None }
    }

    /// The request breaks a rule.
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, code, detail)
    }

    /// Not there, or another tenant's. `what` is the field term, for instance `document`.
    #[must_use]
    pub fn not_found(code: &'static str, what: &str) -> Self {
        Self::new(Kind::NotFound, code, format!("There is no such {what}."))
    }

    /// A dependency failed in a way that may pass.
    pub fn unavailable(what: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Kind::Unavailable, "unavailable", "The service cannot answer just now; try again shortly.")
            .with_source(Context { what, source: source.into() })
    }

    /// A defect, or a dependency that refuses for good. The caller is told nothing but that.
    pub fn internal(what: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Kind::Internal, "internal", "Something went wrong on our side.")
            .with_source(Context { what, source: source.into() })
    }

    /// Adds what only the log may see.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Names the field of the request that is wrong, as a JSON path such as `items[2].size`.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Says when to come again.
    #[must_use]
    pub const fn with_retry_after(mut self, after: std::time::Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The sentence for the caller.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The JSON path of the wrong field.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// When to come again, if that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<std::time::Duration> {
        self.retry_after
    }

    /// The error and all its causes in one line, for the log.
    #[must_use]
    pub fn chain(&self) -> String {
        use fmt::Write as _;
        let mut line = format!("{}: {}", self.code, self.detail);
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _ = write!(line, ": {error}");
            cause = error.source();
        }
        line
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

/// What was being done when the source failed.
#[derive(Debug)]
struct Context {
    what: &'static str,
    source: Box<dyn StdError + Send + Sync>,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.what)
    }
}

impl StdError for Context {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_text_holds_nothing_of_the_source() {
        let error = Error::internal("reading the row", std::io::Error::other("secret host name"));
        assert_eq!(error.detail(), "Something went wrong on our side.");
        assert_eq!(
            error.chain(),
            "internal: Something went wrong on our side.: reading the row failed: secret host name"
        );
    }
}
