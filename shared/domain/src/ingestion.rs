//! What travels over the ingest queue besides S3's own events.

use crate::ids::{DocumentId, TenantId};
use serde::{Deserialize, Serialize};

/// Work on one document, put on the queue by our own functions. The queue delivers at least once and in any order, so
/// both kinds are harmless when they come twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// Take the document's object in (again).
    Ingest {
        /// The tenant.
        tenant_id: TenantId,
        /// The document.
        document_id: DocumentId,
    },
    /// Remove its chunks, its objects and its content from the row.
    Erase {
        /// The tenant.
        tenant_id: TenantId,
        /// The document.
        document_id: DocumentId,
    },
}
