//! A document and the states it goes through.

use crate::ids::{CollectionId, DocumentId, TenantId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a document stands. Every transition is one conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The row exists, the object does not yet.
    AwaitingUpload,
    /// The object is there and waits for a worker.
    Queued,
    /// A worker reads the text.
    Extracting,
    /// A worker computes embeddings.
    Embedding,
    /// The search index takes the chunks in.
    Indexing,
    /// Searchable.
    Ready,
    /// Ended without success; `error_code` and `error_message` say why.
    Failed,
    /// Being erased. The tombstone that a worker checks before it commits.
    Deleting,
    /// Erased: a receipt without content.
    Deleted,
}

impl Status {
    /// Every status, in the order of a document's life.
    pub const ALL: [Self; 9] = [
        Self::AwaitingUpload,
        Self::Queued,
        Self::Extracting,
        Self::Embedding,
        Self::Indexing,
        Self::Ready,
        Self::Failed,
        Self::Deleting,
        Self::Deleted,
    ];

    /// The wire form, such as `awaiting_upload`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingUpload => "awaiting_upload",
            Self::Queued => "queued",
            Self::Extracting => "extracting",
            Self::Embedding => "embedding",
            Self::Indexing => "indexing",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// The status of a wire form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether a worker holds the document under a lease.
    #[must_use]
    pub const fn is_working(self) -> bool {
        matches!(self, Self::Extracting | Self::Embedding | Self::Indexing)
    }

    /// Progress in percent on entering the status. Embedding takes most of the time and advances from 20 to 90.
    #[must_use]
    pub const fn percent(self) -> u8 {
        match self {
            Self::AwaitingUpload | Self::Failed | Self::Deleting | Self::Deleted => 0,
            Self::Queued => 5,
            Self::Extracting => 10,
            Self::Embedding => 20,
            Self::Indexing => 90,
            Self::Ready => 100,
        }
    }
}

/// An uploaded file and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its tenant.
    pub tenant_id: TenantId,
    /// Its id.
    pub document_id: DocumentId,
    /// Who uploaded it.
    pub owner_id: UserId,
    /// The set it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_id: Option<CollectionId>,
    /// What citations call it.
    pub title: String,
    /// The name it was uploaded under.
    pub file_name: String,
    /// The media type that the client named; the content decides.
    pub content_type: String,
    /// Size in bytes: as announced until the object is there, then as it is.
    pub size: u64,
    /// Where it stands.
    pub status: Status,
    /// Progress from 0 to 100.
    pub percent: u8,
    /// How often a worker took it up.
    pub attempts: u32,
    /// Counts the versions of its content, from 1.
    pub generation: u32,
    /// Pages, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// Chunks in the search index, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u32>,
    /// SHA-256 of the object in lower-case hex, once read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Why it failed, as a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Why it failed, as a sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// When the row was made.
    pub created_at: Timestamp,
    /// When the row last changed.
    pub updated_at: Timestamp,
    /// When it last became searchable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// The token of the worker that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// When the reaper must look at it (milliseconds since 1970); absent when nothing is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<i64>,
}

impl Document {
    /// Where its object lies in the bucket.
    #[must_use]
    pub fn upload_key(&self) -> String {
        keys::upload(self.tenant_id, self.document_id, &self.file_name)
    }

    /// Where its chunks and vectors lie in the bucket.
    #[must_use]
    pub fn artifact_key(&self) -> String {
        keys::artifact(self.tenant_id, self.document_id, self.generation)
    }
}

/// Keys of the bucket.
pub mod keys {
    use crate::ids::{DocumentId, TenantId};

    /// `uploads/{tenant}/{document}/{file name}`.
    #[must_use]
    pub fn upload(tenant: TenantId, document: DocumentId, file_name: &str) -> String {
        format!("uploads/{tenant}/{document}/{file_name}")
    }

    /// The prefix of everything uploaded for a document, with a closing slash.
    #[must_use]
    pub fn upload_prefix(tenant: TenantId, document: DocumentId) -> String {
        format!("uploads/{tenant}/{document}/")
    }

    /// `derived/{tenant}/{document}/{generation}.jsonl`.
    #[must_use]
    pub fn artifact(tenant: TenantId, document: DocumentId, generation: u32) -> String {
        format!("derived/{tenant}/{document}/{generation}.jsonl")
    }

    /// The prefix of everything derived from a document, with a closing slash.
    #[must_use]
    pub fn derived_prefix(tenant: TenantId, document: DocumentId) -> String {
        format!("derived/{tenant}/{document}/")
    }

    /// What an (already URL-decoded) key under `uploads/` names.
    #[must_use]
    pub fn parse_upload(key: &str) -> Option<(TenantId, DocumentId, &str)> {
        let mut parts = key.strip_prefix("uploads/")?.splitn(3, '/');
        let tenant = parts.next()?.parse().ok()?;
        let document = parts.next()?.parse().ok()?;
        let name = parts.next().filter(|name| !name.is_empty())?;
        Some((tenant, document, name))
    }
}

/// Makes a file name safe as the last part of a key and in a `Content-Disposition`: no path, no controls, no
/// bidirectional overrides, at most [`crate::limits::MAX_FILE_NAME_BYTES`] bytes with the extension kept. `None` if
/// nothing is left.
#[must_use]
pub fn clean_file_name(name: &str) -> Option<String> {
    let base = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let kept: String = base
        .chars()
        .filter(|c| {
            !c.is_control()
                && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
        .collect();
    let kept = kept.trim().trim_start_matches('.');
    if kept.is_empty() {
        return None;
    }
    let limit = crate::limits::MAX_FILE_NAME_BYTES;
    if kept.len() <= limit {
        return Some(kept.to_owned());
    }
    let extension = kept.rsplit_once('.').map(|(_, extension)| extension).filter(|e| e.len() <= 16);
    let room = limit - extension.map_or(0, |e| e.len() + 1);
    let mut stem: String = String::new();
    for c in kept.chars() {
        if stem.len() + c.len_utf8() > room {
            break;
        }
        stem.push(c);
    }
    Some(extension.map_or(stem.clone(), |e| format!("{stem}.{e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_one_wire_form() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!(Status::parse("nonsense"), None);
    }

    #[test]
    fn upload_keys_round_trip() {
        let tenant: TenantId = "d0c0c4a7-0000-4000-8000-000000000001".parse().unwrap();
        let document: DocumentId = "0199aaaa-0000-7000-8000-000000000001".parse().unwrap();
        let key = keys::upload(tenant, document, "گزارش سال/۱.pdf");
        assert_eq!(keys::parse_upload(&key), Some((tenant, document, "گزارش سال/۱.pdf")));
        for bad in ["", "uploads/", "uploads/x/y/z", "derived/a/b/c", &keys::upload_prefix(tenant, document)]
        {
            assert_eq!(keys::parse_upload(bad), None, "{bad}");
        }
    }

    #[test]
    fn file_names_lose_paths_and_controls_and_keep_their_extension() {
        assert_eq!(clean_file_name("C:\\docs\\a.pdf").as_deref(), Some("a.pdf"));
        assert_eq!(clean_file_name("../../etc/passwd").as_deref(), Some("passwd"));
        assert_eq!(clean_file_name("a\u{202e}fdp.exe\n").as_deref(), Some("afdp.exe"));
        assert_eq!(clean_file_name(" \u{7} "), None);
        assert_eq!(clean_file_name(".."), None);
        let long = clean_file_name(&format!("{}.pdf", "گ".repeat(300))).unwrap();
        assert!(long.len() <= 255 && long.rsplit_once('.').is_some_and(|(_, end)| end == "pdf"), "{long}");
    }
}
