//! `GET /v1/files?status=&limit=&cursor=` -> 200 [`FileList`], newest first
//!
//! Errors: 400 `invalid_status`, `invalid_limit`, `invalid_cursor`.

use crate::view::FileView;
use docuchat_aws::documents::Documents;
use docuchat_domain::{Error, Result, SystemClock, document::Status};
use docuchat_kit::{
    Env, RuntimeError,
    identity::Tokens,
    rest::{Call, Reply},
};
use serde::Serialize;

/// A page of documents.
#[derive(Debug, Serialize)]
pub struct FileList {
    /// The documents of this page.
    pub files: Vec<FileView>,
    /// To be sent as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// The route.
#[derive(Debug)]
pub struct ListFiles {
    tokens: Tokens,
    documents: Documents,
}

impl ListFiles {
    /// From `TOKEN_SECRETS` and `DOCUMENTS_TABLE`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = docuchat_aws::config();
        Ok(Self {
            tokens: Tokens::from_env(env)?,
            documents: Documents::new(&config, env.required("DOCUMENTS_TABLE")?),
        })
    }

    /// Answers one call.
    pub async fn handle(&self, call: Call) -> Result<Reply> {
        let member = self.tokens.member(&call, &SystemClock)?;
        let status = call.query("status").map(parse_status).transpose()?;
        let page = self.documents.list(member.tenant_id, status, call.limit()?, call.query("cursor")).await?;
        let files = page.documents.into_iter().map(FileView::from).collect();
        Reply::json(200, &FileList { files, next_cursor: page.cursor })
    }
}

fn parse_status(text: &str) -> Result<Status> {
    Status::parse(text).filter(|status| *status != Status::Deleted).ok_or_else(|| {
        let known: Vec<_> =
            Status::ALL.iter().filter(|s| **s != Status::Deleted).map(|s| s.as_str()).collect();
        Error::invalid("invalid_status", format!("status is one of {}.", known.join(", ")))
            .with_path("status")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_status_but_deleted_can_be_asked_for() {
        assert_eq!(parse_status("awaiting_upload").unwrap(), Status::AwaitingUpload);
        for bad in ["deleted", "READY", "x"] {
            let error = parse_status(bad).unwrap_err();
            assert_eq!((error.code(), error.path()), ("invalid_status", Some("status")), "{bad}");
        }
    }
}
