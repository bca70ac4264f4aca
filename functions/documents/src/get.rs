//! `GET /v1/files/{document_id}` -> 200 [`FileView`]
//!
//! Errors: 404 `document_not_found`.

use crate::{NOT_FOUND, not_found, view::FileView};
use docuchat_aws::documents::Documents;
use docuchat_domain::{Result, SystemClock, document::Status};
use docuchat_kit::{
    Env, RuntimeError,
    identity::Tokens,
    rest::{Call, Reply},
};

/// The route.
#[derive(Debug)]
pub struct GetFile {
    tokens: Tokens,
    documents: Documents,
}

impl GetFile {
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
        let id = call.path_id("document_id", NOT_FOUND, "document")?;
        let document = self.documents.get(member.tenant_id, id).await?;
        let document =
            document.filter(|document| document.status != Status::Deleted).ok_or_else(not_found)?;
        Reply::json(200, &FileView::from(document))
    }
}
