//! `index-write`: replaces a document's chunks by those of an artifact, in one transaction.
//!
//! The artifact is read line by line while it is written, so memory does not grow with the document. Readers see the old
//! generation until the commit and the new one from then on.

use crate::connection::{Database, Session, failure, is_broken};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{Buf, Bytes, BytesMut};
use docuchat_domain::{
    Result,
    artifact::{self, Chunk, Header},
    index::{WriteOutcome, WriteRequest},
};
use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use std::pin::Pin;
use tokio_postgres::{
    Transaction,
    types::{ToSql, Type},
};
use uuid::Uuid;

/// Rows per INSERT: 200 vectors of 1536 numbers are 2.5 MB on the wire.
const BATCH: usize = 200;

/// The longest line: a vector of 4000 numbers takes 22 KB, and no chunk holds a megabyte of text.
const MAX_LINE_BYTES: usize = 2 * 1024 * 1024;

/// PostgreSQL refuses a tsvector of 1 MB or more; this leaves room for positions.
const MAX_TEXT_BYTES: usize = 256 * 1024;

/// More than any document within the page limit gives.
const MAX_CHUNKS: u32 = 100_000;

/// The largest finite half-precision number, which is what the index stores.
const MAX_HALF: f32 = 65504.0;

/// The bytes of an artifact, in pieces of any size.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Where artifacts lie.
pub trait Artifacts: Send + Sync {
    /// Opens an object; `None` if there is none.
    ///
    /// # Errors
    /// As the store fails.
    fn open(&self, bucket: &str, key: &str) -> impl Future<Output = Result<Option<Body>>> + Send;
}

/// Handles one call. Calling it again with the same request gives the same index.
///
/// # Errors
/// As the store or the database fails; a retry is always safe.
pub async fn handle(
    database: &Database,
    artifacts: &impl Artifacts,
    request: &WriteRequest,
) -> Result<WriteOutcome> {
    let mut retried = false;
    loop {
        let Some(body) = artifacts.open(&request.bucket, &request.artifact_key).await? else {
            return Ok(invalid("there is no such object"));
        };
        let mut session = database.session().await?;
        match write(&mut session, request, &mut Lines::new(body)).await {
            Ok(outcome) => return Ok(outcome),
            Err(Failure::Artifact(reason)) => return Ok(WriteOutcome::InvalidArtifact { reason }),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Database(error)) if is_broken(&error) && !retried => session.discard(),
            Err(Failure::Database(error)) => return Err(failure("writing to the index", error)),
        }
        retried = true;
    }
}

enum Failure {
    Artifact(String),
    Database(tokio_postgres::Error),
    Other(docuchat_domain::Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<docuchat_domain::Error> for Failure {
    fn from(error: docuchat_domain::Error) -> Self {
        Self::Other(error)
    }
}

fn invalid(reason: impl Into<String>) -> WriteOutcome {
    WriteOutcome::InvalidArtifact { reason: reason.into() }
}

async fn write(
    session: &mut Session<'_>,
    request: &WriteRequest,
    lines: &mut Lines,
) -> Result<WriteOutcome, Failure> {
    let header: Header = lines.next().await?.ok_or_else(|| Failure::Artifact("it is empty".into()))?;
    check_header(&header, request)?;

    // Dropped without a commit, the transaction rolls back: nothing of a wrong artifact stays.
    let transaction = session.client()?.transaction().await?;
    let (tenant, document) = (request.tenant_id.uuid(), request.document_id.uuid());
    let ids: [(&(dyn ToSql + Sync), Type); 2] = [(&tenant, Type::UUID), (&document, Type::UUID)];
    transaction.query_typed("select app.enter($1), app.lock_document($1, $2)", &ids).await?;
    let state = transaction
        .query_typed(
            "select exists (select 1 from app.erased where tenant_id = $1 and document_id = $2) as erased,
                    (select generation from app.documents where tenant_id = $1 and id = $2) as live,
                    (select embed_model from app.settings) as embed_model,
                    (select dimensions from app.settings) as dimensions",
            &ids,
        )
        .await?;
    let Some(state) = state.first() else {
        return Err(docuchat_domain::Error::internal("writing to the index", "no state row").into());
    };
    if state.try_get("erased")? {
        return Ok(WriteOutcome::Erased);
    }
    let generation = signed(header.generation, "generation")?;
    if state.try_get::<_, Option<i32>>("live")?.is_some_and(|live| live > generation) {
        return Ok(WriteOutcome::Stale);
    }
    check_embedding(&header, state.try_get("embed_model")?, state.try_get("dimensions")?)?;

    transaction.query_typed("delete from app.chunks where tenant_id = $1 and document_id = $2", &ids).await?;
    upsert_document(&transaction, request, &header).await?;
    let mut batch = Batch::new(header.dimensions);
    let mut written = 0;
    while let Some(chunk) = lines.next::<Chunk>().await? {
        if chunk.ordinal != written {
            return Err(Failure::Artifact(format!("line {} has ordinal {}", lines.number, chunk.ordinal)));
        }
        if written == header.chunks {
            return Err(Failure::Artifact(format!(
                "it has more than the {} chunks of its header",
                header.chunks
            )));
        }
        batch
            .push(&chunk)
            .map_err(|problem| Failure::Artifact(format!("line {}: {problem}", lines.number)))?;
        written += 1;
        if batch.ordinals.len() == BATCH {
            batch.insert(&transaction, tenant, document, generation).await?;
        }
    }
    if written != header.chunks {
        return Err(Failure::Artifact(format!("it has {written} chunks, its header says {}", header.chunks)));
    }
    batch.insert(&transaction, tenant, document, generation).await?;
    transaction.commit().await?;
    Ok(WriteOutcome::Written { chunks: written })
}

fn check_header(header: &Header, request: &WriteRequest) -> Result<(), Failure> {
    let problem = if header.version != artifact::VERSION {
        format!("its format is version {}, this function reads {}", header.version, artifact::VERSION)
    } else if (header.tenant_id, header.document_id) != (request.tenant_id, request.document_id) {
        "it is of another document".into()
    } else if header.generation != request.generation {
        format!("it is of generation {}, not {}", header.generation, request.generation)
    } else if header.chunks > MAX_CHUNKS {
        format!("it has {} chunks, more than {MAX_CHUNKS}", header.chunks)
    } else {
        return Ok(());
    };
    Err(Failure::Artifact(problem))
}

fn check_embedding(header: &Header, model: Option<String>, dimensions: Option<i32>) -> Result<(), Failure> {
    let (Some(model), Some(dimensions)) = (model, dimensions) else {
        return Err(docuchat_domain::Error::internal("writing to the index", "app.settings is empty").into());
    };
    if header.embed_model != model || i64::from(header.dimensions) != i64::from(dimensions) {
        return Err(Failure::Artifact(format!(
            "its vectors are of {} ({} dimensions), the index holds {model} ({dimensions})",
            header.embed_model, header.dimensions
        )));
    }
    Ok(())
}

async fn upsert_document(
    transaction: &Transaction<'_>,
    request: &WriteRequest,
    header: &Header,
) -> Result<(), Failure> {
    let collection = request.collection_id.map(docuchat_domain::CollectionId::uuid);
    let title = storable(&header.title);
    let (generation, chunks) = (signed(header.generation, "generation")?, signed(header.chunks, "chunks")?);
    transaction
        .query_typed(
            "insert into app.documents (tenant_id, id, collection_id, title, generation, chunk_count, embed_model)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (tenant_id, id) do update
             set collection_id = excluded.collection_id, title = excluded.title, generation = excluded.generation,
                 chunk_count = excluded.chunk_count, embed_model = excluded.embed_model, indexed_at = now()",
            &[
                (&request.tenant_id.uuid(), Type::UUID),
                (&request.document_id.uuid(), Type::UUID),
                (&collection, Type::UUID),
                (&title, Type::TEXT),
                (&generation, Type::INT4),
                (&chunks, Type::INT4),
                (&header.embed_model, Type::TEXT),
            ],
        )
        .await?;
    Ok(())
}

/// Page breaks as PostgreSQL writes an array; the error says what is wrong with them.
fn array_literal(breaks: &[u32]) -> Result<String, String> {
    if !breaks.is_sorted() || breaks.iter().any(|at| i32::try_from(*at).is_err()) {
        return Err("its page breaks are not ascending positions".into());
    }
    Ok(format!("{{{}}}", breaks.iter().map(u32::to_string).collect::<Vec<_>>().join(",")))
}

/// Columns of the rows to insert next. COPY would not do: PostgreSQL refuses it under row-level security.
struct Batch {
    dimensions: u32,
    ordinals: Vec<i32>,
    page_starts: Vec<i32>,
    page_ends: Vec<i32>,
    /// As array literals: arrays of different lengths cannot be parts of one array.
    page_breaks: Vec<String>,
    char_starts: Vec<i32>,
    char_ends: Vec<i32>,
    tokens: Vec<i32>,
    texts: Vec<String>,
    /// The vectors end to end.
    numbers: Vec<f32>,
}

impl Batch {
    fn new(dimensions: u32) -> Self {
        Self {
            dimensions,
            ordinals: Vec::with_capacity(BATCH),
            page_starts: Vec::with_capacity(BATCH),
            page_ends: Vec::with_capacity(BATCH),
            page_breaks: Vec::with_capacity(BATCH),
            char_starts: Vec::with_capacity(BATCH),
            char_ends: Vec::with_capacity(BATCH),
            tokens: Vec::with_capacity(BATCH),
            texts: Vec::with_capacity(BATCH),
            numbers: Vec::new(),
        }
    }

    /// Checks a chunk and takes it in; the error says what is wrong with it.
    fn push(&mut self, chunk: &Chunk) -> Result<(), String> {
        if chunk.text.len() > MAX_TEXT_BYTES {
            return Err(format!("its text has {} bytes, more than {MAX_TEXT_BYTES}", chunk.text.len()));
        }
        if chunk.page_start > chunk.page_end || chunk.char_start > chunk.char_end {
            return Err("it ends before it starts".into());
        }
        let bytes =
            BASE64_STANDARD.decode(&chunk.vector).map_err(|_| "its vector is not base64".to_owned())?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || u32::try_from(numbers.len()) != Ok(self.dimensions) {
            return Err(format!("its vector has {} bytes, not {} numbers", bytes.len(), self.dimensions));
        }
        let start = self.numbers.len();
        self.numbers.extend(numbers.iter().map(|number| f32::from_le_bytes(*number)));
        let vector = self.numbers.get(start..).unwrap_or_default();
        if !vector.iter().all(|number| number.abs() <= MAX_HALF) {
            return Err("its vector holds a number that half precision cannot".into());
        }
        // Below this all numbers round to zero, and a vector without length has no cosine.
        if !vector.iter().any(|number| number.abs() > 1e-7) {
            return Err("its vector has no length".into());
        }
        let column =
            |value: u32, name: &str| i32::try_from(value).map_err(|_| format!("its {name} is {value}"));
        self.ordinals.push(column(chunk.ordinal, "ordinal")?);
        self.page_starts.push(column(chunk.page_start, "page_start")?);
        self.page_ends.push(column(chunk.page_end, "page_end")?);
        self.page_breaks.push(array_literal(&chunk.page_breaks)?);
        self.char_starts.push(column(chunk.char_start, "char_start")?);
        self.char_ends.push(column(chunk.char_end, "char_end")?);
        self.tokens.push(column(chunk.tokens, "tokens")?);
        self.texts.push(storable(&chunk.text));
        Ok(())
    }

    /// Inserts what there is and empties the batch.
    async fn insert(
        &mut self,
        transaction: &Transaction<'_>,
        tenant: Uuid,
        document: Uuid,
        generation: i32,
    ) -> Result<(), Failure> {
        if self.ordinals.is_empty() {
            return Ok(());
        }
        let dimensions = signed(self.dimensions, "dimensions")?;
        // One flat array and a slice of it per row: a slice of fixed-length elements is found without reading the rest.
        transaction
            .query_typed(
                "insert into app.chunks (tenant_id, document_id, generation, ordinal, page_start, page_end,
                                         page_breaks, char_start, char_end, token_count, content, embedding)
                 select $1, $2, $3, u.ordinal, u.page_start, u.page_end, u.page_breaks::int[], u.char_start, u.char_end, u.tokens, u.content,
                        ($11::real[])[(u.n - 1) * $12 + 1 : u.n * $12]::halfvec
                 from unnest($4::int[], $5::int[], $6::int[], $7::int[], $8::int[], $9::int[], $10::text[], $13::text[])
                      with ordinality as u (ordinal, page_start, page_end, char_start, char_end, tokens, content,
                                            page_breaks, n)",
                &[
                    (&tenant, Type::UUID),
                    (&document, Type::UUID),
                    (&generation, Type::INT4),
                    (&self.ordinals, Type::INT4_ARRAY),
                    (&self.page_starts, Type::INT4_ARRAY),
                    (&self.page_ends, Type::INT4_ARRAY),
                    (&self.char_starts, Type::INT4_ARRAY),
                    (&self.char_ends, Type::INT4_ARRAY),
                    (&self.tokens, Type::INT4_ARRAY),
                    (&self.texts, Type::TEXT_ARRAY),
                    (&self.numbers, Type::FLOAT4_ARRAY),
                    (&dimensions, Type::INT4),
                    (&self.page_breaks, Type::TEXT_ARRAY),
                ],
            )
            .await?;
        self.ordinals.clear();
        self.page_starts.clear();
        self.page_ends.clear();
        self.page_breaks.clear();
        self.char_starts.clear();
        self.char_ends.clear();
        self.tokens.clear();
        self.texts.clear();
        self.numbers.clear();
        Ok(())
    }
}

fn signed(value: u32, name: &str) -> Result<i32, Failure> {
    i32::try_from(value).map_err(|_| Failure::Artifact(format!("its {name} is {value}")))
}

/// PostgreSQL's text cannot hold U+0000. A space in its place keeps the positions of all other characters.
fn storable(text: &str) -> String {
    text.replace('\0', " ")
}

/// JSON lines out of pieces of any size.
struct Lines {
    body: Body,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line feed.
    searched: usize,
    /// The number of the last line read, from 1.
    number: u32,
    ended: bool,
}

impl Lines {
    fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, number: 0, ended: false }
    }

    /// The next line that is not blank, or `None` at the end.
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        while let Some(line) = self.line().await? {
            self.number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            // The parser's message is safe to pass on, it names positions and field names but quotes no text of strings.
            return serde_json::from_slice(&line)
                .map(Some)
                .map_err(|error| Failure::Artifact(format!("line {}: {error}", self.number)));
        }
        Ok(None)
    }

    async fn line(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE_BYTES {
                return Err(Failure::Artifact(format!(
                    "line {} is longer than {MAX_LINE_BYTES} bytes",
                    self.number + 1
                )));
            }
            if self.ended {
                self.searched = 0;
                return Ok((!self.buffer.is_empty()).then(|| self.buffer.split().freeze()));
            }
            match self.body.next().await {
                Some(piece) => self.buffer.extend_from_slice(&piece?),
                None => self.ended = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DIMENSIONS, Document, Objects, TestDatabase, encode, tenant};

    #[tokio::test]
    async fn a_repeated_write_gives_the_same_index() {
        let database = TestDatabase::start().await;
        let texts = vec!["some text with a \0 in it"; 450];
        let document = Document::new(tenant(1), &texts);
        for _ in 0..2 {
            assert_eq!(database.write(&document).await, WriteOutcome::Written { chunks: 450 });
            assert_eq!(database.count("select count(*) from app.chunks").await, 450);
        }
        let sum = "select sum(ordinal)::int8 from app.chunks where page_start = ordinal + 1 and page_end = ordinal + 2
                   and char_start = ordinal * 100 and char_end = ordinal * 100 + 90 and token_count = 9 and generation = 1
                   and content = 'some text with a   in it'";
        assert_eq!(database.count(sum).await, 449 * 450 / 2);
        let same = "select count(*) from app.chunks where (embedding::real[])[1 + ordinal % 8] = 1";
        assert_eq!(database.count(same).await, 450);
        database.finish().await;
    }

    #[tokio::test]
    async fn a_newer_generation_replaces_and_an_older_one_is_refused() {
        let database = TestDatabase::start().await;
        let old = Document::new(tenant(1), &["one", "two", "three"]);
        let mut new = old.clone();
        new.header.generation = 2;
        new.header.chunks = 1;
        new.chunks.truncate(1);
        assert_eq!(database.write(&old).await, WriteOutcome::Written { chunks: 3 });
        assert_eq!(database.write(&new).await, WriteOutcome::Written { chunks: 1 });
        assert_eq!(database.write(&old).await, WriteOutcome::Stale);
        assert_eq!(database.count("select count(*) from app.chunks where generation = 2").await, 1);
        assert_eq!(database.count("select count(*) from app.chunks").await, 1);
        database.finish().await;
    }

    #[tokio::test]
    async fn writers_of_one_document_take_turns() {
        let database = TestDatabase::start().await;
        let texts = vec!["text"; 300];
        let first = Document::new(tenant(1), &texts);
        let connections: Vec<_> = (0..4).map(|_| database.another_app()).collect();
        let writes = connections.iter().zip(1u32..).map(|(connection, generation)| {
            let mut document = first.clone();
            document.header.generation = generation;
            async move { handle(connection, &Objects::of(&document), &document.request()).await.unwrap() }
        });
        let outcomes = futures_util::future::join_all(writes).await;
        assert_eq!(outcomes.last(), Some(&WriteOutcome::Written { chunks: 300 }), "{outcomes:?}");
        assert_eq!(database.count("select count(*) from app.chunks where generation = 4").await, 300);
        assert_eq!(database.count("select count(*) from app.chunks").await, 300);
        database.finish().await;
    }

    #[tokio::test]
    async fn a_wrong_artifact_says_why_and_changes_nothing() {
        let database = TestDatabase::start().await;
        let good = Document::new(tenant(1), &["one", "two"]);
        database.write(&good).await;
        let request = good.request();
        let changed = |change: fn(&mut Document)| {
            let mut document = good.clone();
            change(&mut document);
            document.lines()
        };
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (Vec::new(), "empty"),
            (b"{}".to_vec(), "line 1: missing field"),
            (good.lines()[..good.lines().len() - 3].to_vec(), "line 3: EOF"),
            (changed(|d| d.header.version = 9), "version 9"),
            (changed(|d| d.header.tenant_id = tenant(2)), "another document"),
            (changed(|d| d.header.generation = 7), "generation 7"),
            (changed(|d| d.header.chunks = 3), "it has 2 chunks, its header says 3"),
            (changed(|d| d.header.chunks = 1), "more than the 1 chunks"),
            (changed(|d| d.header.embed_model = "other".into()), "its vectors are of other (8 dimensions)"),
            (changed(|d| d.header.dimensions = 9), "(9 dimensions)"),
            (changed(|d| d.chunks.swap(0, 1)), "ordinal 1"),
            (changed(|d| d.chunks[1].vector = encode(&[1.0])), "its vector has 4 bytes, not 8 numbers"),
            (changed(|d| d.chunks[1].vector = "*".into()), "not base64"),
            (changed(|d| d.chunks[1].vector = encode(&[f32::NAN; DIMENSIONS as usize])), "half precision"),
            (changed(|d| d.chunks[1].vector = encode(&[1e6; DIMENSIONS as usize])), "half precision"),
            (changed(|d| d.chunks[1].vector = encode(&[0.0; DIMENSIONS as usize])), "no length"),
            (changed(|d| d.chunks[1].char_end = 0), "ends before it starts"),
            (changed(|d| d.chunks[1].text = "x".repeat(MAX_TEXT_BYTES + 1)), "bytes, more than"),
            (changed(|d| d.chunks[1].text = "x".repeat(MAX_LINE_BYTES + 1)), "line 3 is longer"),
        ];
        for (bytes, reason) in cases {
            match handle(&database.app, &Objects::holding(bytes), &request).await.unwrap() {
                WriteOutcome::InvalidArtifact { reason: found } => {
                    assert!(found.contains(reason), "{found}: not {reason}");
                }
                other => panic!("{other:?}, not {reason}"),
            }
        }
        let missing = handle(&database.app, &Objects::none(), &request).await.unwrap();
        assert_eq!(missing, invalid("there is no such object"));
        assert_eq!(database.count("select count(*) from app.chunks").await, 2);
        database.finish().await;
    }
}
