//! `index-erase`: takes a document out of the index and leaves a tombstone, so that a late `index-write` is refused.

use crate::connection::{Database, Session, failure, is_broken};
use docuchat_domain::{
    Result,
    index::{EraseRequest, EraseResponse},
};
use tokio_postgres::types::Type;

/// Erases one document. Erasing again removes nothing and is no error.
///
/// # Errors
/// As the database fails; a retry is always safe.
pub async fn handle(database: &Database, request: &EraseRequest) -> Result<EraseResponse> {
    let mut retried = false;
    loop {
        let mut session = database.session().await?;
        match erase(&mut session, request).await? {
            Ok(response) => return Ok(response),
            Err(error) if is_broken(&error) && !retried => session.discard(),
            Err(error) => return Err(failure("erasing a document", error)),
        }
        retried = true;
    }
}

async fn erase(
    session: &mut Session<'_>,
    request: &EraseRequest,
) -> Result<Result<EraseResponse, tokio_postgres::Error>> {
    let (tenant, document) = (request.tenant_id.uuid(), request.document_id.uuid());
    let client = session.client()?;
    let work = async {
        let transaction = client.transaction().await?;
        let ids: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&tenant, Type::UUID), (&document, Type::UUID)];
        // The lock orders this after a write of the same document that is under way, and before any later one.
        transaction.query_typed("select app.enter($1), app.lock_document($1, $2)", &ids).await?;
        let tombstone =
            "insert into app.erased (tenant_id, document_id) values ($1, $2) on conflict do nothing";
        transaction.query_typed(tombstone, &ids).await?;
        let counts = transaction
            .query_typed(
                "with gone as (delete from app.chunks where tenant_id = $1 and document_id = $2 returning 1)
                 select count(*) from gone",
                &ids,
            )
            .await?;
        let chunks = counts.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
        let documents = transaction
            .query_typed("delete from app.documents where tenant_id = $1 and id = $2 returning 1", &ids)
            .await?
            .len();
        transaction.commit().await?;
        Ok(EraseResponse { chunks: u64::try_from(chunks).unwrap_or(0), documents: documents as u64 })
    };
    Ok(work.await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Document, TestDatabase, tenant};
    use docuchat_domain::index::WriteOutcome;

    #[tokio::test]
    async fn an_erased_document_is_gone_and_stays_gone() {
        let database = TestDatabase::start().await;
        let mut document = Document::new(tenant(1), &["one", "two"]);
        database.write(&document).await;
        let kept = Document::new(tenant(1), &["three"]);
        database.write(&kept).await;
        let request = EraseRequest { tenant_id: tenant(1), document_id: document.header.document_id };

        let foreign = EraseRequest { tenant_id: tenant(2), ..request };
        assert_eq!(handle(&database.app, &foreign).await.unwrap(), EraseResponse { chunks: 0, documents: 0 });
        assert_eq!(handle(&database.app, &request).await.unwrap(), EraseResponse { chunks: 2, documents: 1 });
        assert_eq!(handle(&database.app, &request).await.unwrap(), EraseResponse { chunks: 0, documents: 0 });

        document.header.generation = 2;
        assert_eq!(database.write(&document).await, WriteOutcome::Erased);
        assert_eq!(database.count("select count(*) from app.chunks").await, 1);
        assert_eq!(database.count("select count(*) from app.documents").await, 1);
        database.finish().await;
    }
}
