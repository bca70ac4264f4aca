//! The limits that clients meet, in one place.

/// The largest file taken in, in bytes (25 MB, as the product's specification has it: binary megabytes).
pub const MAX_FILE_BYTES: u64 = 25 * 1024 * 1024;

/// The largest file that may come inside the request itself. API Gateway hands a body to Lambda base64-encoded within
/// the 6 MB of an invocation, which leaves 4.5 MB; larger files go by presigned POST.
pub const MAX_INLINE_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The largest JSON body of any route, in bytes.
pub const MAX_JSON_BYTES: usize = 256 * 1024;

/// The most pages of one document.
pub const MAX_PAGES: u32 = 500;

/// The longest file name, in bytes of UTF-8. S3 keys hold 1024 bytes, of which the prefix takes 82.
pub const MAX_FILE_NAME_BYTES: usize = 255;

/// The longest title, in characters.
pub const MAX_TITLE_CHARS: usize = 200;

/// The largest WebSocket frame in either direction, in bytes: API Gateway closes the connection (1009) above it.
pub const MAX_FRAME_BYTES: usize = 32 * 1024;

/// The longest question, in characters.
pub const MAX_QUESTION_CHARS: usize = 8_000;

/// How long a presigned upload stays open, in seconds.
pub const UPLOAD_SECONDS: u32 = 3600;

/// How long after the end of a presigned upload its event may still come, in seconds; then the row is failed.
pub const UPLOAD_EVENT_SECONDS: i64 = 900;

/// How long a document may wait in the queue before it is put there again, in seconds.
pub const QUEUED_SECONDS: i64 = 600;

/// How long an erasure may take before it is ordered again, in seconds.
pub const ERASE_SECONDS: i64 = 300;

/// How long an e-mailed code stays valid, in seconds.
pub const CODE_SECONDS: i64 = 600;

/// How many guesses one code takes; the next one is refused even when it is right.
pub const CODE_ATTEMPTS: u32 = 5;

/// How many codes one address is sent within [`CODE_WINDOW_SECONDS`]. Further requests get the same answer but no mail,
/// so that nobody's mailbox can be flooded and guesses are bounded by `CODE_ATTEMPTS * CODES_PER_WINDOW`.
pub const CODES_PER_WINDOW: u32 = 5;

/// The window of [`CODES_PER_WINDOW`], in seconds.
pub const CODE_WINDOW_SECONDS: i64 = 3600;

/// How often one document is tried before it is failed.
pub const MAX_INGEST_ATTEMPTS: u32 = 5;

/// The most rows of one page of a list.
pub const MAX_PAGE_SIZE: u32 = 100;

/// Rows of a page when the caller names no number.
pub const DEFAULT_PAGE_SIZE: u32 = 20;
