//! The end of a document: index, objects, row, in this order, so that nothing is findable before it is gone.
//!
//! Every step may be repeated; a document that vanished in the middle is finished by the next delivery or by the reaper.

use crate::ingest::Ingest;
use docuchat_domain::{
    Clock as _, DocumentId, Kind, Result, SystemClock, TenantId,
    document::{Status, keys},
    index::{EraseRequest, EraseResponse},
};
use docuchat_kit::logs;

impl Ingest {
    /// Erases a document that carries the tombstone; any other is left alone.
    pub(crate) async fn erase(&self, tenant: TenantId, document: DocumentId) -> Result<()> {
        let Some(row) = self.documents.get(tenant, document).await? else {
            tracing::warn!(%tenant, %document, "nothing to erase: there is no row");
            return Ok(());
        };
        if row.status != Status::Deleting {
            tracing::info!(%tenant, %document, status = row.status.as_str(), "not erased: no tombstone stands");
            return Ok(());
        }
        let request = EraseRequest { tenant_id: tenant, document_id: document };
        let erased: EraseResponse = self.functions.call(&self.index_erase, &request).await?;
        let uploads = self.objects.delete_prefix(&keys::upload_prefix(tenant, document)).await?;
        let derived = self.objects.delete_prefix(&keys::derived_prefix(tenant, document)).await?;
        match self.documents.mark_deleted(tenant, document, SystemClock.now()).await {
            Ok(()) => {}
            // Two deliveries at once: the other one was faster.
            Err(error) if error.kind() == Kind::Conflict => return Ok(()),
            Err(error) => return Err(error),
        }
        logs::note("erased_chunks", erased.chunks);
        logs::note("erased_objects", uploads + derived);
        tracing::info!(%tenant, %document, chunks = erased.chunks, objects = uploads + derived, "erased");
        self.progress.tell(&row, Status::Deleted, 0, None).await;
        Ok(())
    }
}
