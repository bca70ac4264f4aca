//! `index-search`: hybrid search in one statement and about one and a half round trips.
//!
//! Vector and full-text candidates, 40 of each, are merged by reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR
//! 2009; k = 60). The vector half reads every vector where the searched documents hold few chunks, which is exact and needs
//! no statistics, and walks the HNSW graph where they hold many.

use crate::connection::{Database, Session, failure, is_broken};
use docuchat_domain::{
    DocumentId, Error, Result, TenantId,
    index::{Hit, PingResponse, SearchCall, SearchRequest, SearchResponse},
};
use serde::Serialize;
use std::{sync::LazyLock, time::Instant};
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

/// The most hits a search returns, whatever it was asked for: half of what the two halves can find.
const MAX_HITS: u32 = 50;

/// The most characters of a question that the full-text half reads. The vector half has seen all of it.
const MAX_QUESTION_CHARS: usize = 2000;

/// Up to this many chunks every vector is compared.
const EXACT_CHUNKS: u32 = 4000;

/// With more documents than this, the question of how many chunks they hold is not asked to the end.
const EXACT_DOCUMENTS: u32 = 2000;

/// What `index-search` answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// To a search.
    Search(SearchResponse),
    /// To a ping.
    Ping(PingResponse),
}

/// Handles one call.
///
/// # Errors
/// Invalid for a vector that is not one of this deployment's; otherwise as the database fails.
pub async fn handle(database: &Database, call: &SearchCall) -> Result<Response> {
    match call {
        SearchCall::Ping { .. } => ping(database).await.map(Response::Ping),
        SearchCall::Search(request) => search(database, request).await.map(Response::Search),
    }
}

/// Asks for the last migration: the database answers and has a schema.
///
/// # Errors
/// As the database fails; internal if it was never migrated.
pub async fn ping(database: &Database) -> Result<PingResponse> {
    let started = Instant::now();
    let statement = "select max(version) from app.schema_migrations";
    let mut retried = false;
    let migration = loop {
        let mut session = database.session().await?;
        match session.client()?.query_typed(statement, &[]).await {
            Ok(rows) => break rows.first().and_then(|row| row.get(0)),
            Err(error) if is_broken(&error) && !retried => session.discard(),
            Err(error) => return Err(failure("pinging the database", error)),
        }
        retried = true;
    };
    let migration: Option<String> = migration;
    let migration =
        migration.ok_or_else(|| Error::internal("pinging the database", "no migration was applied"))?;
    Ok(PingResponse { ok: true, migration, took_ms: millis(started) })
}

/// Searches the documents of one tenant.
///
/// # Errors
/// Invalid for a vector that is not one of this deployment's; otherwise as the database fails.
pub async fn search(database: &Database, request: &SearchRequest) -> Result<SearchResponse> {
    let started = Instant::now();
    if request.vector.is_empty() || !request.vector.iter().all(|number| number.is_finite()) {
        return Err(Error::invalid("vector", "The query vector is empty or not finite.").with_path("vector"));
    }
    let mut retried = false;
    let rows = loop {
        let mut session = database.session().await?;
        match query(&mut session, request).await? {
            Ok(rows) => break rows,
            Err(error) if is_broken(&error) && !retried => session.discard(),
            Err(error)
                if error
                    .as_db_error()
                    .is_some_and(|db| db.message().contains("different halfvec dimensions")) =>
            {
                return Err(Error::invalid("vector", "The query vector has not this deployment's length.")
                    .with_path("vector")
                    .with_source(error));
            }
            Err(error) => return Err(failure("searching", error)),
        }
        retried = true;
    };
    let hits =
        rows.iter().map(hit).collect::<Result<_, _>>().map_err(|error| failure("reading a hit", error))?;
    Ok(SearchResponse { hits, took_ms: millis(started) })
}

/// BEGIN, the search and COMMIT are sent together, and nothing is prepared first: one round trip and a half instead of
/// five. If the first fails, the server refuses the second, and COMMIT ends the transaction either way.
async fn query(
    session: &mut Session<'_>,
    request: &SearchRequest,
) -> Result<Result<Vec<Row>, tokio_postgres::Error>> {
    let client = &*session.client()?;
    let tenant = request.tenant_id.uuid();
    let question: String =
        request.text.chars().map(|c| if c == '\0' { ' ' } else { c }).take(MAX_QUESTION_CHARS).collect();
    let limit = i64::from(request.limit.clamp(1, MAX_HITS));
    let collections: Option<Vec<Uuid>> =
        request.collections.as_ref().map(|ids| ids.iter().map(|id| id.uuid()).collect());
    let documents: Option<Vec<Uuid>> =
        request.documents.as_ref().map(|ids| ids.iter().map(|id| id.uuid()).collect());
    let filtered = collections.is_some() || documents.is_some();
    let statement = if filtered { &*FILTERED } else { &*UNFILTERED };
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 6] = [
        (&tenant, Type::UUID),
        (&request.vector, Type::FLOAT4_ARRAY),
        (&question, Type::TEXT),
        (&limit, Type::INT8),
        (&collections, Type::UUID_ARRAY),
        (&documents, Type::UUID_ARRAY),
    ];
    let params = if filtered { params.as_slice() } else { params.split_at(4).0 };
    let enter = enter(request.tenant_id, "read only");
    let (entered, found, left) = tokio::join!(
        biased;
        client.batch_execute(&enter),
        client.query_typed(statement, params),
        client.batch_execute("commit"),
    );
    Ok(match (entered, found, left) {
        (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => Err(error),
        (Ok(()), Ok(rows), Ok(())) => Ok(rows),
    })
}

/// Opens a transaction for one tenant. A UUID's text is hexadecimal digits and hyphens, so it needs no quoting.
pub(crate) fn enter(tenant: TenantId, mode: &str) -> String {
    format!("begin {mode}; select app.enter('{tenant}')")
}

fn hit(row: &Row) -> Result<Hit, tokio_postgres::Error> {
    // The schema holds what index-write put there, which began as u32.
    let number =
        |name: &str| row.try_get::<_, i32>(name).map(|value| u32::try_from(value).unwrap_or_default());
    let rank = |name: &str| {
        row.try_get::<_, Option<i64>>(name).map(|rank| rank.and_then(|rank| u32::try_from(rank).ok()))
    };
    Ok(Hit {
        document_id: DocumentId::from_uuid(row.try_get("document_id")?),
        title: row.try_get("title")?,
        generation: number("generation")?,
        ordinal: number("ordinal")?,
        page_start: number("page_start")?,
        page_end: number("page_end")?,
        page_breaks: row
            .try_get::<_, Vec<i32>>("page_breaks")?
            .into_iter()
            .map(|at| u32::try_from(at).unwrap_or_default())
            .collect(),
        text: row.try_get("content")?,
        tokens: number("token_count")?,
        score: row.try_get("score")?,
        similarity: row.try_get("similarity")?,
        vector_rank: rank("vector_rank")?,
        text_rank: rank("text_rank")?,
    })
}

fn millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

static UNFILTERED: LazyLock<String> = LazyLock::new(|| statement(false));
static FILTERED: LazyLock<String> = LazyLock::new(|| statement(true));

/// The statement; its parameters are tenant uuid, query real[], question text, limit, and, where the search is filtered,
/// collections uuid[] and documents uuid[], either of which may be null.
fn statement(filtered: bool) -> String {
    let documents = "($5::uuid[] is null or d.collection_id = any ($5::uuid[])) and ($6::uuid[] is null or d.id = any ($6::uuid[]))";
    let (scope, most, chunks, chosen) = if filtered {
        // All of the chosen documents are needed for the full-text half, so they are not cut off.
        let chunks = format!(
            "and c.document_id in (select d.id from app.documents d where d.tenant_id = $1 and {documents})"
        );
        (format!("and {documents}"), "all".into(), chunks, "ids")
    } else {
        (String::new(), (EXACT_DOCUMENTS + 1).to_string(), String::new(), "case when few then ids end")
    };
    // "+ 0" keeps the exact half away from the graph. The similarity of a vector without length would be NaN, which JSON
    // cannot say. "limit 1" makes the last joins look up the few hits by their keys: the planner, which cannot know how few
    // they are, would otherwise read all chunks of the tenant.
    format!(
        "with scope as materialized (
           select count(*) <= {EXACT_DOCUMENTS} and coalesce(sum(x.chunk_count), 0) <= {EXACT_CHUNKS} as few,
                  coalesce(array_agg(x.id), '{{}}') as ids
           from (select d.id, d.chunk_count from app.documents d where d.tenant_id = $1 {scope} limit {most}) x),
         v as materialized (
           select x.document_id, x.generation, x.ordinal, row_number() over (order by x.distance) as r from (
             (select c.document_id, c.generation, c.ordinal, (c.embedding <=> $2::real[]::halfvec) + 0 as distance
              from app.chunks c
              where (select few from scope) and c.tenant_id = $1 and c.document_id = any ((select ids from scope)::uuid[])
              order by distance limit 40)
             union all
             (select c.document_id, c.generation, c.ordinal, c.embedding <=> $2::real[]::halfvec as distance
              from app.chunks c
              where not (select few from scope) and c.tenant_id = $1 {chunks}
              order by c.embedding <=> $2::real[]::halfvec limit 40)) x),
         t as materialized (
           select h.document_id, h.generation, h.ordinal, h.r
           from scope, app.text_hits($1, app.question($3), {chosen}, 40) h),
         s as materialized (
           select document_id, generation, ordinal, v.r as vector_rank, t.r as text_rank,
                  (coalesce(1.0 / (60 + v.r), 0) + coalesce(1.0 / (60 + t.r), 0))::float8 as score
           from v full join t using (document_id, generation, ordinal)
           order by score desc, vector_rank, document_id, ordinal limit $4)
         select s.document_id, d.title, s.generation, s.ordinal, c.page_start, c.page_end, c.page_breaks, c.content, c.token_count,
                s.score, s.vector_rank, s.text_rank,
                coalesce(nullif(1 - (c.embedding <=> $2::real[]::halfvec), 'NaN'), 0) as similarity
         from s
         cross join lateral (
           select * from app.chunks c where c.tenant_id = $1 and c.document_id = s.document_id
           and c.generation = s.generation and c.ordinal = s.ordinal limit 1) c
         cross join lateral (
           select d.title from app.documents d where d.tenant_id = $1 and d.id = s.document_id
           and d.generation = s.generation limit 1) d
         order by s.score desc, s.vector_rank, s.document_id, s.ordinal"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Document, TestDatabase, axis, question, tenant};
    use docuchat_domain::{CollectionId, SystemClock, SystemEntropy};

    #[tokio::test]
    async fn both_halves_find_and_every_hit_has_its_similarity() {
        let database = TestDatabase::start().await;
        let document = Document::new(tenant(1), &["The notice period is ninety days.", "Zebras eat grass."]);
        database.write(&document).await;
        let response =
            search(&database.app, &question(tenant(1), "what do zebras eat?", axis(0))).await.unwrap();
        let [first, second] = response.hits.as_slice() else { panic!("{response:?}") };
        // The second chunk is found by both halves, the first by its vector alone.
        assert_eq!((first.ordinal, first.vector_rank, first.text_rank), (1, Some(2), Some(1)));
        assert_eq!((second.ordinal, second.vector_rank, second.text_rank), (0, Some(1), None));
        assert!(second.similarity > 0.999 && first.similarity < 0.2, "{response:?}");
        assert!((first.score - (1.0 / 62.0 + 1.0 / 61.0)).abs() < 1e-12);
        assert_eq!((first.page_start, first.page_end, first.tokens, first.generation), (2, 3, 9, 1));
        assert_eq!((first.title.as_str(), first.text.as_str()), ("A title", "Zebras eat grass."));
        assert_eq!(first.document_id, document.header.document_id);
        database.finish().await;
    }

    #[tokio::test]
    async fn persian_is_found_in_any_spelling() {
        let database = TestDatabase::start().await;
        // Persian yeh, kaf, digits and a zero-width non-joiner in the document; Arabic letters in the question.
        database.write(&Document::new(tenant(1), &["قیمت کتاب\u{200c}ها ۱۲۳۴ ریال است", "چیز دیگر"])).await;
        for text in ["كتاب چيست؟", "مبلغ 1234", "قيمت"] {
            let response = search(&database.app, &question(tenant(1), text, axis(7))).await.unwrap();
            assert_eq!(response.hits[0].text_rank, Some(1), "{text}: {response:?}");
            assert_eq!(response.hits[0].ordinal, 0, "{text}");
        }
        database.finish().await;
    }

    #[tokio::test]
    async fn filters_by_collection_and_by_document() {
        let database = TestDatabase::start().await;
        let collection = CollectionId::generate(&SystemClock, &SystemEntropy);
        let mut inside = Document::new(tenant(1), &["a zebra"]);
        inside.collection = Some(collection);
        let outside = Document::new(tenant(1), &["a zebra"]);
        database.write(&inside).await;
        database.write(&outside).await;
        let all = question(tenant(1), "zebra", axis(0));
        let found = async |request: SearchRequest| {
            let hits = search(&database.app, &request).await.unwrap().hits;
            hits.iter().map(|hit| hit.document_id).collect::<Vec<_>>()
        };
        let (inside, outside) = (inside.header.document_id, outside.header.document_id);
        assert_eq!(found(all.clone()).await.len(), 2);
        assert_eq!(
            found(SearchRequest { collections: Some(vec![collection]), ..all.clone() }).await,
            [inside]
        );
        assert_eq!(found(SearchRequest { documents: Some(vec![outside]), ..all.clone() }).await, [outside]);
        assert_eq!(found(SearchRequest { documents: Some(vec![]), ..all.clone() }).await, []);
        let both = SearchRequest {
            collections: Some(vec![collection]),
            documents: Some(vec![outside]),
            ..all.clone()
        };
        assert_eq!(found(both).await, []);
        let foreign = SearchRequest { tenant_id: tenant(2), documents: Some(vec![inside]), ..all.clone() };
        assert_eq!(found(foreign).await, []);
        assert_eq!(found(SearchRequest { limit: 1, ..all }).await.len(), 1);
        database.finish().await;
    }

    #[tokio::test]
    async fn many_chunks_are_searched_by_the_graph() {
        let database = TestDatabase::start().await;
        let texts: Vec<String> = (0..=EXACT_CHUNKS).map(|n| format!("number{n}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let document = Document::new(tenant(1), &texts);
        database.write(&document).await;
        let request = question(tenant(1), "number1234", axis(3));
        for documents in [None, Some(vec![document.header.document_id])] {
            let response =
                search(&database.app, &SearchRequest { documents, ..request.clone() }).await.unwrap();
            assert_eq!(response.hits.len(), 10);
            let by_text: Vec<_> = response.hits.iter().filter(|hit| hit.text_rank.is_some()).collect();
            assert_eq!(by_text.iter().map(|hit| hit.ordinal).collect::<Vec<_>>(), [1234]);
            let by_vector = response.hits.iter().filter(|hit| hit.vector_rank.is_some()).collect::<Vec<_>>();
            assert!(by_vector.len() >= 9 && by_vector.iter().all(|hit| hit.ordinal % 8 == 3), "{response:?}");
        }
        database.finish().await;
    }

    #[tokio::test]
    async fn hostile_questions_are_only_text() {
        let database = TestDatabase::start().await;
        database.write(&Document::new(tenant(1), &["a zebra"])).await;
        let long = "zebra ".repeat(100_000);
        for text in [
            "",
            " ",
            "'; drop table app.chunks; --",
            "\\ ' | & ! <-> (",
            "a\0b",
            "of the and",
            &long,
            "🦓 \u{202e}x",
        ] {
            let response = search(&database.app, &question(tenant(1), text, axis(0))).await.unwrap();
            assert_eq!(response.hits.len(), 1, "{text:.40}");
        }
        database.finish().await;
    }

    #[tokio::test]
    async fn a_wrong_vector_is_refused() {
        let database = TestDatabase::start().await;
        database.write(&Document::new(tenant(1), &["a zebra"])).await;
        for vector in [vec![], vec![f32::NAN; 8], vec![1.0; 9]] {
            let error = search(&database.app, &question(tenant(1), "x", vector)).await.unwrap_err();
            assert_eq!(error.code(), "vector", "{error:?}");
        }
        // The connection is as good as before.
        assert_eq!(search(&database.app, &question(tenant(1), "x", axis(0))).await.unwrap().hits.len(), 1);
        let zero = search(&database.app, &question(tenant(1), "zebra", vec![0.0; 8])).await.unwrap();
        assert!(zero.hits[0].similarity.abs() < f64::EPSILON);
        database.finish().await;
    }

    #[tokio::test]
    async fn a_lost_connection_is_made_again() {
        let database = TestDatabase::start().await;
        database.write(&Document::new(tenant(1), &["a zebra"])).await;
        let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                    where usename = 'docuchat_app' and datname = current_database()";
        for _ in 0..3 {
            assert_eq!(database.count(kill).await, 1);
            assert_eq!(
                search(&database.app, &question(tenant(1), "x", axis(0))).await.unwrap().hits.len(),
                1
            );
        }
        assert_eq!(database.count(kill).await, 1);
        let ping = ping(&database.app).await.unwrap();
        assert!(ping.ok && ping.migration.starts_with("0001"), "{ping:?}");
        database.finish().await;
    }

    #[tokio::test]
    async fn row_security_holds_where_the_where_is_forgotten() {
        let database = TestDatabase::start().await;
        let (mine, theirs) = (Document::new(tenant(1), &["mine"]), Document::new(tenant(2), &["theirs"]));
        database.write(&mine).await;
        database.write(&theirs).await;
        let erased = docuchat_domain::index::EraseRequest {
            tenant_id: tenant(2),
            document_id: crate::testing::new_document_id(),
        };
        crate::erase::handle(&database.app, &erased).await.unwrap();

        let mut session = database.app.session().await.unwrap();
        let client = session.client().unwrap();
        let count = async |client: &tokio_postgres::Client, sql: &str| -> i64 {
            client.query_one(sql, &[]).await.unwrap().get(0)
        };
        for table in ["app.chunks", "app.documents", "app.erased"] {
            assert_eq!(
                count(client, &format!("select count(*) from {table}")).await,
                0,
                "no tenant entered: {table}"
            );
        }
        client.batch_execute(&enter(tenant(1), "read write")).await.unwrap();
        assert_eq!(count(client, "select count(*) from app.chunks where content = 'theirs'").await, 0);
        assert_eq!(count(client, "select count(*) from app.chunks").await, 1);
        assert_eq!(count(client, "select count(*) from app.documents").await, 1);
        assert_eq!(count(client, "select count(*) from app.erased").await, 0);
        assert_eq!(
            client
                .execute("delete from app.documents where id = $1", &[&theirs.header.document_id.uuid()])
                .await
                .unwrap(),
            0
        );
        client.batch_execute("commit").await.unwrap();
        for (sql, code) in [
            (
                "insert into app.erased (tenant_id, document_id) values ('d0c0c4a7-0000-4000-8000-000000000002', gen_random_uuid())",
                "42501",
            ),
            (
                "select * from app.text_hits('d0c0c4a7-0000-4000-8000-000000000002', 'theirs'::tsquery, null, 9)",
                "42501",
            ),
            ("select * from app.chunks_p00", "42501"),
            ("alter table app.chunks disable row level security", "42501"),
            ("delete from app.erased", "42501"),
            ("create table app.mine ()", "42501"),
        ] {
            client.batch_execute(&enter(tenant(1), "read write")).await.unwrap();
            let error = client.batch_execute(sql).await.unwrap_err();
            assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some(code), "{sql}");
            client.batch_execute("rollback").await.unwrap();
        }
        drop(session);
        database.finish().await;
    }
}
