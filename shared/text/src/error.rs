//! What can be wrong with a file, in words for its owner and in codes for programs.

/// Why no text could be taken from a file.
///
/// `Display` is one sentence that may be shown to the owner of the file; [`TextError::detail`] is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The file has no bytes at all.
    #[error("The file is empty.")]
    EmptyFile,
    /// The file is larger than [`crate::Limits::max_bytes`].
    #[error("The file is larger than the limit of {} MB.", limit / (1024 * 1024))]
    FileTooLarge {
        /// Size of the file in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The content is of a kind that is not read.
    #[error("Files of this kind ({found}) are not supported; send a PDF, plain text or Markdown file.")]
    UnsupportedType {
        /// What the content looks like.
        found: &'static str,
    },
    /// The name promises one kind of file and the content is another.
    #[error("The file is named like a {expected} file but its content is {found}.")]
    ContentMismatch {
        /// What the file name promises.
        expected: &'static str,
        /// What the content looks like.
        found: &'static str,
    },
    /// The file opens with a password only.
    #[error("The file is protected with a password; remove the password and upload it again.")]
    Encrypted,
    /// The file cannot be parsed.
    #[error("The file is damaged and cannot be read.")]
    Corrupt {
        /// The parser's own words, for the log.
        reason: String,
    },
    /// The file was read, and none of its pages has text: usually a scan.
    #[error(
        "The file has no text; it seems to be a scan. Run text recognition (OCR) on it and upload it again."
    )]
    NoText,
    /// The file has more pages than [`crate::Limits::max_pages`].
    #[error("The file has more than {limit} pages.")]
    TooManyPages {
        /// The limit.
        limit: u32,
    },
    /// One of the bounds against hostile files was met.
    #[error("The file is too complex to be read safely.")]
    TooComplex {
        /// Which bound, for the log.
        bound: &'static str,
    },
    /// [`crate::Limits::deadline`] passed before the end of the file.
    #[error("Reading the file took too long.")]
    DeadlineExceeded,
}

impl TextError {
    /// The stable code of this error: lower snake case, part of the public interface.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyFile => "empty_file",
            Self::FileTooLarge { .. } => "file_too_large",
            Self::UnsupportedType { .. } => "unsupported_type",
            Self::ContentMismatch { .. } => "content_mismatch",
            Self::Encrypted => "encrypted",
            Self::Corrupt { .. } => "corrupt",
            Self::NoText => "no_text",
            Self::TooManyPages { .. } => "too_many_pages",
            Self::TooComplex { .. } => "too_complex",
            Self::DeadlineExceeded => "deadline_exceeded",
        }
    }

    /// Detail for the log, if there is more to say than `Display` does; it never holds text of the document.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Corrupt { reason } => Some(reason),
            Self::TooComplex { bound } => Some(bound),
            _ => None,
        }
    }

    pub(crate) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt { reason: reason.into() }
    }
}
