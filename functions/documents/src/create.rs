//! `POST /v1/files`
//!
//! - JSON [`Announcement`] -> 201 [`Announced`]: a form for the upload straight to the bucket, up to 25 MB.
//! - `multipart/form-data` with `file` and an optional `title` -> 202 [`Accepted`]: a file of up to 4 MB at once.
//!
//! Errors: 400 `invalid_file_name`, `invalid_title`, `empty_file`, `malformed_multipart`, `missing_file`, 403
//! `role_required`, 413 `file_too_large`, 415 `unsupported_type`. What the content really is shows in ingestion.

use crate::form::{self, Upload};
use docuchat_aws::{
    documents::{Documents, Guard},
    objects::{Objects, PresignedPost, UploadForm},
};
use docuchat_domain::{
    Clock as _, DocumentId, Error, Kind, Result, SystemClock, SystemEntropy,
    document::{Document, Status, clean_file_name},
    limits,
    tenant::Role,
};
use docuchat_kit::{
    Env, RuntimeError,
    identity::{Member, Tokens},
    logs,
    rest::{Call, Reply},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A file that is about to be uploaded.
#[derive(Debug, Deserialize)]
pub struct Announcement {
    /// Its name; a path before it is dropped.
    pub filename: String,
    /// Its size in bytes, 1 to [`limits::MAX_FILE_BYTES`].
    pub size: u64,
    /// Its media type; `application/octet-stream` if the extension tells the kind.
    #[serde(default)]
    pub content_type: String,
    /// What citations call it; the file name without its extension when absent.
    #[serde(default)]
    pub title: Option<String>,
}

/// Where to upload to.
#[derive(Debug, Serialize)]
pub struct Announced {
    /// The new document.
    pub document_id: DocumentId,
    /// `awaiting_upload`.
    pub status: Status,
    /// A form to be posted as `multipart/form-data`: all fields first, then the file as `file`.
    pub upload: PresignedPost,
    /// How long the form is valid, in seconds.
    pub expires_in: u32,
}

/// The file is there and waits for a worker.
#[derive(Debug, Serialize)]
pub struct Accepted {
    /// The new document.
    pub document_id: DocumentId,
    /// `queued`.
    pub status: Status,
}

/// The route.
#[derive(Debug)]
pub struct CreateFile {
    tokens: Tokens,
    documents: Documents,
    objects: Objects,
}

impl CreateFile {
    /// From `TOKEN_SECRETS`, `DOCUMENTS_TABLE` and `BUCKET`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = docuchat_aws::config();
        Ok(Self {
            tokens: Tokens::from_env(env)?,
            documents: Documents::new(&config, env.required("DOCUMENTS_TABLE")?),
            objects: Objects::new(&config, env.required("BUCKET")?),
        })
    }

    /// Answers one call.
    pub async fn handle(&self, call: Call) -> Result<Reply> {
        let member = self.tokens.member(&call, &SystemClock)?;
        member.at_least(Role::Member)?;
        if call.media_type() == "multipart/form-data" {
            return self.take(member, form::read(&call).await?).await;
        }
        self.announce(member, call.json()?).await
    }

    async fn announce(&self, member: Member, announcement: Announcement) -> Result<Reply> {
        let Announcement { filename, size, content_type, title } = announcement;
        let file = File::check(&filename, &content_type, title.as_deref(), size)?;
        let now = SystemClock.now();
        let wait = i64::from(limits::UPLOAD_SECONDS) + limits::UPLOAD_EVENT_SECONDS;
        let document = file.into_document(member, Status::AwaitingUpload, wait, now);
        let key = document.upload_key();
        let form = UploadForm {
            key: &key,
            content_type: &document.content_type,
            // What was announced is the most that the bucket takes.
            max_bytes: document.size,
            seconds: limits::UPLOAD_SECONDS,
        };
        let upload = self.objects.presign_post(form, now).await?;
        self.documents.create(&document).await?;
        logs::note("document_id", document.document_id.to_string());
        let expires_in = limits::UPLOAD_SECONDS;
        let Document { document_id, status, .. } = document;
        Reply::json(201, &Announced { document_id, status, upload, expires_in })
    }

    async fn take(&self, member: Member, upload: Upload) -> Result<Reply> {
        let Upload { file_name, content_type, title, bytes } = upload;
        let size = bytes.len().try_into().unwrap_or(u64::MAX);
        let file = File::check(&file_name, &content_type, title.as_deref(), size)?;
        let now = SystemClock.now();
        let document = file.into_document(member, Status::Queued, limits::QUEUED_SECONDS, now);
        logs::note("document_id", document.document_id.to_string());
        // The row first: the object's event, which starts the ingestion, must find it.
        self.documents.create(&document).await?;
        if let Err(error) =
            self.objects.put(&document.upload_key(), &document.content_type, bytes.into()).await
        {
            let (code, message) = ("upload_failed", "The file could not be stored; send it again.");
            let (tenant, id) = (document.tenant_id, document.document_id);
            let failed =
                self.documents.fail(tenant, id, Guard::Seen(&document), code, message, SystemClock.now());
            if let Err(error) = failed.await {
                // The reaper queues the row, and the worker fails it because its object is missing.
                tracing::warn!(error = error.chain(), "the row of a file that was not stored stays queued");
            }
            return Err(error);
        }
        let Document { document_id, status, .. } = document;
        Reply::json(202, &Accepted { document_id, status })
    }
}

/// A file whose description keeps every rule.
#[derive(Debug, PartialEq, Eq)]
struct File {
    name: String,
    content_type: String,
    title: String,
    size: u64,
}

impl File {
    fn check(name: &str, content_type: &str, title: Option<&str>, size: u64) -> Result<Self> {
        // In the key of a form, S3 replaces `${filename}` by what the client says then.
        let name = clean_file_name(name).filter(|name| !name.contains("${")).ok_or_else(|| {
            Error::invalid("invalid_file_name", "The file needs a name of visible characters.")
                .with_path("filename")
        })?;
        let content_type = supported_type(content_type, &name)?;
        if size == 0 {
            return Err(Error::invalid("empty_file", "The file is empty.").with_path("size"));
        }
        if size > limits::MAX_FILE_BYTES {
            let detail = format!("A file may have at most {} MB.", limits::MAX_FILE_BYTES / (1024 * 1024));
            return Err(Error::new(Kind::TooLarge, "file_too_large", detail).with_path("size"));
        }
        let title = match title.map(str::trim).filter(|title| !title.is_empty()) {
            Some(title) => check_title(title)?,
            None => stem(&name).chars().take(limits::MAX_TITLE_CHARS).collect(),
        };
        Ok(Self { name, content_type, title, size })
    }

    /// The row, in its first status; the reaper looks at it when `wait_s` seconds have passed.
    fn into_document(self, member: Member, status: Status, wait_s: i64, now: Timestamp) -> Document {
        let due_at = now.saturating_add(SignedDuration::from_secs(wait_s)).unwrap_or(now);
        Document {
            tenant_id: member.tenant_id,
            document_id: DocumentId::generate(&SystemClock, &SystemEntropy),
            owner_id: member.user_id,
            collection_id: None,
            title: self.title,
            file_name: self.name,
            content_type: self.content_type,
            size: self.size,
            status,
            percent: status.percent(),
            attempts: 0,
            generation: 1,
            pages: None,
            chunks: None,
            sha256: None,
            error_code: None,
            error_message: None,
            created_at: now,
            updated_at: now,
            ready_at: None,
            lease: None,
            due_at: Some(due_at.as_millisecond()),
        }
    }
}

fn check_title(title: &str) -> Result<String> {
    if title.chars().count() > limits::MAX_TITLE_CHARS || title.chars().any(char::is_control) {
        let detail = format!("A title holds at most {} characters, on one line.", limits::MAX_TITLE_CHARS);
        return Err(Error::invalid("invalid_title", detail).with_path("title"));
    }
    Ok(title.to_owned())
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).trim_end()
}

/// The media type to keep: what the client named if it is one of ours, or what the extension says if it named none
/// in particular.
fn supported_type(content_type: &str, name: &str) -> Result<String> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let by_extension = match name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).as_deref() {
        Some("pdf") => Some("application/pdf"),
        Some("txt" | "text") => Some("text/plain"),
        Some("md" | "markdown") => Some("text/markdown"),
        _ => None,
    };
    match (essence.as_str(), by_extension) {
        ("application/pdf" | "text/plain" | "text/markdown" | "text/x-markdown", _)
        | ("application/octet-stream", Some(_)) => Ok(essence),
        ("", Some(known)) => Ok(known.to_owned()),
        _ => {
            let detail = "Send a PDF, plain text or Markdown file and name its content type.";
            Err(Error::new(Kind::Unsupported, "unsupported_type", detail).with_path("content_type"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(name: &str, content_type: &str, title: Option<&str>, size: u64) -> &'static str {
        File::check(name, content_type, title, size).unwrap_err().code()
    }

    #[test]
    fn a_good_file() {
        let file = File::check("C:\\x\\گزارش سال.pdf", "Application/PDF", None, 10).unwrap();
        let expected = File {
            name: "گزارش سال.pdf".to_owned(),
            content_type: "application/pdf".to_owned(),
            title: "گزارش سال".to_owned(),
            size: 10,
        };
        assert_eq!(file, expected);
        let file = File::check("notes.md", "application/octet-stream", Some("  Notes "), 26_214_400).unwrap();
        assert_eq!((file.content_type.as_str(), file.title.as_str()), ("application/octet-stream", "Notes"));
        assert_eq!(File::check("a.txt", "", None, 1).unwrap().content_type, "text/plain");
        assert_eq!(
            File::check("a", "text/plain; charset=utf-8", None, 1).unwrap().content_type,
            "text/plain"
        );
    }

    #[test]
    fn bad_files_have_codes() {
        assert_eq!(code("..", "text/plain", None, 1), "invalid_file_name");
        assert_eq!(code("${filename}", "text/plain", None, 1), "invalid_file_name");
        assert_eq!(code("a.pdf", "application/pdf", None, 0), "empty_file");
        assert_eq!(code("a.pdf", "application/pdf", None, 26_214_401), "file_too_large");
        assert_eq!(code("a.png", "image/png", None, 1), "unsupported_type");
        assert_eq!(code("a.bin", "application/octet-stream", None, 1), "unsupported_type");
        assert_eq!(code("a.pdf", "image/png", None, 1), "unsupported_type");
        assert_eq!(code("a.pdf", "application/pdf", Some(&"x".repeat(201)), 1), "invalid_title");
        assert_eq!(code("a.pdf", "application/pdf", Some("a\nb"), 1), "invalid_title");
    }

    #[test]
    fn the_form_of_the_answer() {
        let upload =
            PresignedPost { url: "u".to_owned(), fields: [("key".to_owned(), "k".to_owned())].into() };
        let document_id = "0199aaaa-0000-7000-8000-000000000001".parse().unwrap();
        let body = Announced { document_id, status: Status::AwaitingUpload, upload, expires_in: 3600 };
        assert_eq!(
            serde_json::to_value(body).unwrap(),
            serde_json::json!({
                "document_id": "0199aaaa-0000-7000-8000-000000000001",
                "status": "awaiting_upload",
                "upload": {"url": "u", "fields": {"key": "k"}},
                "expires_in": 3600,
            })
        );
    }
}
