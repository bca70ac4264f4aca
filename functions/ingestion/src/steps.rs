//! The steps from object to index. Each one says how it ended for the document: on, never, later, or no longer ours.

use crate::{
    artifact,
    ingest::{Ingest, Work},
};
use docuchat_aws::documents::Findings;
use docuchat_domain::{
    Clock as _, Error, Kind, SystemClock,
    artifact::{Header, VERSION},
    document::Status,
    index::{WriteOutcome, WriteRequest},
    limits,
};
use docuchat_kit::logs;
use docuchat_text::{Chunk, ChunkOptions, Limits, TextError};
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use std::time::{Duration, Instant};

/// The longest time for reading the text of one file.
const EXTRACT: Duration = Duration::from_mins(1);

/// Added before a thread that does not keep its deadline is left behind.
const EXTRACT_GRACE: Duration = Duration::from_secs(20);

/// Kept free of the invocation's time for what comes after embedding.
const AFTER_EMBEDDING: Duration = Duration::from_secs(40);

/// Requests to the embedding service at once, for one document.
const EMBEDDING_CALLS: usize = 4;

/// Progress is written, and told, this often at most.
const PROGRESS: Duration = Duration::from_secs(1);

/// Why a document went no further.
#[derive(Debug)]
pub(crate) enum Stop {
    /// No retry can help: the document fails with this code and sentence.
    Never {
        code: &'static str,
        message: String,
        /// For the log.
        cause: String,
    },
    /// It may pass: the document is tried again, and fails with this code and sentence if it never does.
    Later { code: &'static str, message: &'static str, error: Box<Error> },
    /// The document is not this worker's any more, or needs no work.
    Lost(&'static str),
}

impl Stop {
    fn never(code: &'static str, message: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::Never { code, message: message.into(), cause: cause.into() }
    }

    fn later(code: &'static str, message: &'static str, error: Error) -> Self {
        Self::Later { code, message, error: Box::new(error) }
    }

    /// The bucket did not answer.
    fn storage(error: Error) -> Self {
        if error.kind() == Kind::TooLarge {
            return Self::never(error.code(), error.detail(), error.chain());
        }
        Self::later("storage_unavailable", "The file could not be read or stored just now.", error)
    }

    /// A transition of the row was not made.
    fn row(error: Error) -> Self {
        if error.kind() == Kind::Conflict {
            return Self::Lost("the lease is lost");
        }
        Self::later("unavailable", "The document's state could not be saved just now.", error)
    }

    fn model(error: Error) -> Self {
        if error.kind().is_transient() {
            let message = "The embedding service did not answer; upload the file again later.";
            return Self::later("model_unavailable", message, error);
        }
        Self::never(error.code(), error.detail(), error.chain())
    }

    fn index(error: Error) -> Self {
        let message = "The search index did not answer; upload the file again later.";
        Self::later("index_unavailable", message, error)
    }

    fn text(error: &TextError) -> Self {
        Self::never(error.code(), error.to_string(), error.detail().unwrap_or_default())
    }

    /// The invocation ended before the document.
    pub(crate) fn out_of_time() -> Self {
        let error = Error::unavailable("taking a document in", "the invocation's time is over");
        Self::later("out_of_time", "The document takes too long to be taken in.", error)
    }
}

/// The text of a file, cut.
struct Extracted {
    pages: u32,
    chunks: Vec<Chunk>,
}

impl Ingest {
    /// Takes a claimed document all the way to `ready`.
    pub(crate) async fn work(&self, work: &Work<'_>) -> Result<(), Stop> {
        let document = work.document;
        self.progress.tell(document, Status::Extracting, Status::Extracting.percent(), None).await;
        let (upload_key, artifact_key) = (document.upload_key(), document.artifact_key());
        let (object, start) = logs::timed("read_ms", async {
            tokio::join!(
                Box::pin(self.objects.get(&upload_key, limits::MAX_FILE_BYTES)),
                Box::pin(self.objects.get_start(&artifact_key, artifact::HEADER_BYTES)),
            )
        })
        .await;
        let bytes = object.map_err(Stop::storage)?.ok_or_else(|| Stop::Never {
            code: "object_missing",
            message: "The uploaded file is not there any more; upload it again.".to_owned(),
            cause: String::new(),
        })?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let sha256 = hex(&Sha256::digest(&bytes));
        logs::note("size_bytes", size);
        let (model, dimensions) = (self.embedder.model(), self.embedder.dimensions());
        let made_before = start
            .map_err(Stop::storage)?
            .and_then(|start| artifact::reusable(&start, document, &sha256, model, dimensions));
        let header = match made_before {
            Some(header) => {
                logs::note("artifact_reused", true);
                header
            }
            None => Box::pin(self.derive(work, bytes, sha256.clone())).await?,
        };
        let (pages, chunks) = (header.pages, header.chunks);
        logs::note("pages", pages);
        logs::note("chunks", chunks);
        let found = Findings { size: Some(size), sha256: Some(sha256), pages: Some(pages), chunks: None };
        // The last look at the tombstone before the index is touched; index-write looks at its own once more.
        self.advance(work, Status::Indexing, Status::Indexing.percent(), found).await?;
        self.index(work, artifact_key).await
    }

    /// Text, chunks, vectors, artifact.
    async fn derive(&self, work: &Work<'_>, bytes: Vec<u8>, sha256: String) -> Result<Header, Stop> {
        let document = work.document;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let extracted = logs::timed("extract_ms", self.extract(work, bytes)).await?;
        let Extracted { pages, chunks } = extracted;
        let found =
            Findings { size: Some(size), sha256: Some(sha256.clone()), pages: Some(pages), chunks: None };
        self.advance(work, Status::Embedding, Status::Embedding.percent(), found).await?;
        let texts: Vec<String> = chunks.iter().map(|chunk| chunk.text.clone()).collect();
        let vectors = logs::timed("embed_ms", self.embed(work, &texts)).await?;
        let header = Header {
            version: VERSION,
            tenant_id: document.tenant_id,
            document_id: document.document_id,
            generation: document.generation,
            title: document.title.clone(),
            file_name: document.file_name.clone(),
            embed_model: self.embedder.model().to_owned(),
            dimensions: self.embedder.dimensions(),
            pages,
            chunks: artifact::number(chunks.len()),
            sha256,
        };
        let artifact = artifact::write(&header, chunks, &vectors).map_err(Stop::storage)?;
        let key = document.artifact_key();
        logs::timed("artifact_ms", Box::pin(self.objects.put(&key, "application/x-ndjson", artifact)))
            .await
            .map_err(Stop::storage)?;
        Ok(header)
    }

    /// Reads and cuts the text on a thread of its own, so that the heartbeat goes on and a panic stays in this file.
    async fn extract(&self, work: &Work<'_>, bytes: Vec<u8>) -> Result<Extracted, Stop> {
        let time = EXTRACT.min(work.invocation.remaining(AFTER_EMBEDDING));
        let deadline = Instant::now() + time;
        let file_name = work.document.file_name.clone();
        let counter = docuchat_text::counter_for_model(self.embedder.model());
        let reading = tokio::task::spawn_blocking(move || {
            let format = docuchat_text::sniff(&bytes, &file_name)?;
            let mut bounds = Limits::default().with_deadline(deadline);
            bounds.max_pages = limits::MAX_PAGES;
            let text = docuchat_text::extract(&bytes, format, &bounds)?;
            drop(bytes);
            let chunks = docuchat_text::chunk(&text.pages, &ChunkOptions::default(), counter);
            if chunks.is_empty() {
                return Err(TextError::NoText);
            }
            Ok(Extracted { pages: artifact::number(text.pages.len()), chunks })
        });
        match tokio::time::timeout(time + EXTRACT_GRACE, reading).await {
            Ok(Ok(Ok(extracted))) => Ok(extracted),
            Ok(Ok(Err(error))) => Err(Stop::text(&error)),
            Ok(Err(panic)) => Err(Stop::Never {
                code: "extraction_failed",
                message: "The file could not be read.".to_owned(),
                cause: panic.to_string(),
            }),
            Err(_) => {
                tracing::error!("a file is still being read after its deadline");
                Err(Stop::text(&TextError::DeadlineExceeded))
            }
        }
    }

    /// One vector per text, in batches; progress goes from 20 to 90 percent.
    async fn embed(&self, work: &Work<'_>, texts: &[String]) -> Result<Vec<Vec<f32>>, Stop> {
        let deadline = Instant::now() + work.invocation.remaining(AFTER_EMBEDDING);
        let batches = texts.chunks(self.embedder.batch_size());
        let mut answers = stream::iter(batches)
            .map(|batch| self.embedder.documents(batch, deadline))
            .buffered(EMBEDDING_CALLS);
        let mut vectors = Vec::with_capacity(texts.len());
        let mut told = Instant::now();
        while let Some(answer) = answers.next().await {
            let embedded = answer.map_err(Stop::model)?;
            logs::add("embedding_tokens", embedded.tokens);
            vectors.extend(embedded.vectors);
            if told.elapsed() >= PROGRESS && vectors.len() < texts.len() {
                told = Instant::now();
                let percent = embedding_percent(vectors.len(), texts.len());
                self.advance(work, Status::Embedding, percent, Findings::default()).await?;
            }
        }
        Ok(vectors)
    }

    async fn index(&self, work: &Work<'_>, artifact_key: String) -> Result<(), Stop> {
        let document = work.document;
        let request = WriteRequest {
            tenant_id: document.tenant_id,
            document_id: document.document_id,
            generation: document.generation,
            collection_id: document.collection_id,
            bucket: self.objects.bucket().to_owned(),
            artifact_key,
        };
        let outcome = logs::timed("index_ms", self.functions.call(&self.index_write, &request)).await;
        match outcome.map_err(Stop::index)? {
            WriteOutcome::Written { chunks } => {
                let found = Findings { chunks: Some(chunks), ..Findings::default() };
                let (tenant, id) = (document.tenant_id, document.document_id);
                self.documents
                    .finish(tenant, id, work.lease, found, SystemClock.now())
                    .await
                    .map_err(Stop::row)?;
                self.progress.tell(document, Status::Ready, Status::Ready.percent(), None).await;
                Ok(())
            }
            WriteOutcome::Erased => Err(Stop::Lost("the document was erased")),
            WriteOutcome::Stale => Err(Stop::Lost("a newer generation is live")),
            WriteOutcome::InvalidArtifact { reason } => {
                // The next attempt, if somebody orders one, must not find it.
                if let Err(error) = self.objects.delete(&request.artifact_key).await {
                    tracing::warn!(error = error.chain(), "a refused artifact was not removed");
                }
                let message = "The document could not be added to the search index.".to_owned();
                Err(Stop::Never { code: "index_refused", message, cause: reason })
            }
        }
    }

    async fn advance(
        &self,
        work: &Work<'_>,
        status: Status,
        percent: u8,
        found: Findings,
    ) -> Result<(), Stop> {
        let document = work.document;
        let (tenant, id, now) = (document.tenant_id, document.document_id, SystemClock.now());
        self.documents
            .advance(tenant, id, work.lease, self.lease_time, status, percent, found, now)
            .await
            .map_err(Stop::row)?;
        self.progress.tell(document, status, percent, None).await;
        Ok(())
    }
}

/// From 20 to 90, by the share that is done.
fn embedding_percent(done: usize, total: usize) -> u8 {
    let (from, to) = (Status::Embedding.percent(), Status::Indexing.percent());
    let span = usize::from(to - from);
    from + u8::try_from(span * done / total.max(1)).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_embedding() {
        assert_eq!(embedding_percent(0, 10), 20);
        assert_eq!(embedding_percent(5, 10), 55);
        assert_eq!(embedding_percent(10, 10), 90);
        assert_eq!(embedding_percent(0, 0), 20);
    }

    #[test]
    fn a_hash_is_lower_case_hex() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&Sha256::digest(b"abc")), expected);
    }

    #[test]
    fn each_cause_says_whether_to_try_again() {
        let never = |stop| match stop {
            Stop::Never { code, .. } => Some(code),
            Stop::Later { .. } | Stop::Lost(_) => None,
        };
        let later = |stop| match stop {
            Stop::Later { code, .. } => Some(code),
            Stop::Never { .. } | Stop::Lost(_) => None,
        };
        let too_large = Error::new(Kind::TooLarge, "file_too_large", "x");
        let rejected = Error::new(Kind::Internal, "model_rejected", "x");
        let throttled = Error::new(Kind::RateLimited, "rate_limited", "x");
        assert_eq!(never(Stop::storage(too_large)), Some("file_too_large"));
        assert_eq!(later(Stop::storage(Error::unavailable("x", "y"))), Some("storage_unavailable"));
        assert_eq!(never(Stop::model(rejected)), Some("model_rejected"));
        assert_eq!(later(Stop::model(throttled)), Some("model_unavailable"));
        assert_eq!(never(Stop::text(&TextError::Encrypted)), Some("encrypted"));
        assert!(matches!(Stop::row(Error::new(Kind::Conflict, "lease_lost", "x")), Stop::Lost(_)));
    }
}
