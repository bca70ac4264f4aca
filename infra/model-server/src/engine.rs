//! Embeddings as a service within the process: a pool of threads, a queue with two priorities, a cache of short texts.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use tokio::sync::oneshot;

use crate::{
    cache::RecentCache,
    encoder::{Encoder, Scratch},
    hashing,
    tokenizer::Tokenizer,
    weights::{WeightsError, WeightsFile},
};

/// Tokens that one thread takes at a time: enough rows for the matrix products to run at full speed, few enough that an
/// interactive request waits less than a quarter of a second behind a bulk one.
const BATCH_TOKENS: usize = 512;
/// Below this many tokens, splitting over the threads costs more than it saves: the weights are read once a batch.
const LEAST_BATCH_TOKENS: usize = 96;
/// Short texts (questions and sentences) whose vectors are kept: 1.5 KB each.
const CACHED_TEXTS: usize = 4096;

/// Which side of a search a text is on: the model was trained with a different prefix for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A question.
    Query,
    /// A text that may answer it.
    Passage,
}

impl Role {
    fn prefix(self) -> &'static str {
        match self {
            Self::Query => "query: ",
            Self::Passage => "passage: ",
        }
    }
}

/// How soon a result is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Someone is waiting: goes before all bulk work, and its result is cached.
    Interactive,
    /// Ingestion.
    Bulk,
}

/// A vector of unit length and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// 384 values; the cosine of two texts is their dot product.
    pub vector: Vec<f32>,
    /// Positions that the network read: prefix, text (cut at 512 positions) and the two marks.
    pub tokens: usize,
}

/// The threads are gone: the engine was dropped while a request waited, or a thread died.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the embedding threads have stopped")]
pub struct EngineStopped;

/// A handle to the model; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    model: Arc<Model>,
    cache: Arc<RecentCache<(Role, String), Embedding>>,
}

#[derive(Debug)]
enum Model {
    Network(Box<Network>),
    Hashing,
}

#[derive(Debug)]
struct Network {
    tokenizer: Tokenizer,
    dimensions: usize,
    positions: usize,
    threads: usize,
    queue: Arc<Queue>,
}

impl Drop for Network {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.wake.notify_all();
    }
}

#[derive(Debug)]
struct Job {
    /// Texts of the request that it is a part of.
    request_texts: usize,
    sequences: Vec<Vec<u32>>,
    reply: oneshot::Sender<Vec<Vec<f32>>>,
}

#[derive(Debug, Default)]
struct Waiting {
    interactive: VecDeque<Job>,
    bulk: VecDeque<Job>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job that somebody still waits for; `None` when the engine is gone.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            match waiting.interactive.pop_front().or_else(|| waiting.bulk.pop_front()) {
                Some(job) if job.reply.is_closed() => {}
                Some(job) => return Some(job),
                None => waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn push(&self, job: Job, urgency: Urgency) {
        let mut waiting = self.lock();
        match urgency {
            Urgency::Interactive => waiting.interactive.push_back(job),
            // Small requests first: a note of one page need not wait for all of a book.
            Urgency::Bulk => {
                let larger = waiting.bulk.iter().position(|other| other.request_texts > job.request_texts);
                let place = larger.unwrap_or(waiting.bulk.len());
                waiting.bulk.insert(place, job);
            }
        }
        drop(waiting);
        self.wake.notify_one();
    }
}

impl Engine {
    /// Reads the weights and starts `threads` threads (at least one).
    pub fn load(weights: &Path, threads: usize) -> Result<Self, WeightsError> {
        let (mut file, tokenizer) = WeightsFile::open(weights)?;
        if tokenizer.pieces() > file.shape.vocabulary {
            return Err(WeightsError::Format {
                path: weights.display().to_string(),
                reason: "it has more pieces than word vectors".to_owned(),
            });
        }
        let encoder = Arc::new(Encoder::read(&mut file)?);
        let (dimensions, positions) = (encoder.dimensions(), encoder.positions());
        let queue = Arc::new(Queue::default());
        let threads = threads.max(1);
        for index in 0..threads {
            let (queue, encoder) = (Arc::clone(&queue), Arc::clone(&encoder));
            std::thread::Builder::new()
                .name(format!("embedding-{index}"))
                .spawn(move || work(&queue, &encoder))
                .map_err(|source| WeightsError::Read { path: weights.display().to_string(), source })?;
        }
        Ok(Self::of(Model::Network(Box::new(Network { tokenizer, dimensions, positions, threads, queue }))))
    }

    /// An engine without weights, for tests of faults only: vectors are bags of hashed words and mean nothing.
    #[must_use]
    pub fn hashing_for_fault_tests() -> Self {
        Self::of(Model::Hashing)
    }

    fn of(model: Model) -> Self {
        Self { model: Arc::new(model), cache: Arc::new(RecentCache::new(CACHED_TEXTS)) }
    }

    /// Values of one vector: 384.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        match &*self.model {
            Model::Network(network) => network.dimensions,
            Model::Hashing => hashing::DIMENSIONS,
        }
    }

    /// Tokens of a text as the model counts them, uncut and without prefix and marks.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        match &*self.model {
            Model::Network(network) => network.tokenizer.encode(text).len(),
            Model::Hashing => hashing::count_tokens(text),
        }
    }

    /// Embeds texts in order. Dropping the future takes work that has not begun off the queue.
    pub async fn embed(
        &self,
        role: Role,
        texts: &[String],
        urgency: Urgency,
    ) -> Result<Vec<Embedding>, EngineStopped> {
        let engine = self.clone();
        let owned = texts.to_vec();
        // Tokenization is arithmetic too: some milliseconds for a large request.
        let (known, pending) = tokio::task::spawn_blocking(move || engine.submit(role, &owned, urgency))
            .await
            .map_err(|_| EngineStopped)?;
        let mut results = Vec::with_capacity(pending.len());
        for (lengths, reply) in pending {
            results.push((lengths, reply.await.map_err(|_| EngineStopped)?));
        }
        Ok(self.collect(role, texts, urgency, known, results))
    }

    /// As [`Self::embed`] for callers without a runtime. Must not be called on a runtime's own thread.
    pub fn embed_blocking(&self, role: Role, texts: &[String]) -> Result<Vec<Embedding>, EngineStopped> {
        let (known, pending) = self.submit(role, texts, Urgency::Bulk);
        let mut results = Vec::with_capacity(pending.len());
        for (lengths, reply) in pending {
            results.push((lengths, reply.blocking_recv().map_err(|_| EngineStopped)?));
        }
        Ok(self.collect(role, texts, Urgency::Bulk, known, results))
    }

    /// Looks up the cache, and queues batches of what is not there.
    fn submit(
        &self,
        role: Role,
        texts: &[String],
        urgency: Urgency,
    ) -> (Vec<Option<Arc<Embedding>>>, Vec<Pending>) {
        let cached = |text: &String| match urgency {
            Urgency::Interactive => self.cache.get(&(role, text.clone())),
            Urgency::Bulk => None,
        };
        let known: Vec<_> = texts.iter().map(cached).collect();
        let missing = texts.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(text, _)| text);
        let pending = match &*self.model {
            Model::Network(network) => {
                let sequences: Vec<_> = missing
                    .map(|text| {
                        network.tokenizer.sequence(&format!("{}{text}", role.prefix()), network.positions)
                    })
                    .collect();
                let request_texts = sequences.len();
                let total: usize = sequences.iter().map(Vec::len).sum();
                let most = (total.div_ceil(network.threads)).clamp(LEAST_BATCH_TOKENS, BATCH_TOKENS);
                batches(sequences, most)
                    .into_iter()
                    .map(|sequences| {
                        let lengths = sequences.iter().map(Vec::len).collect();
                        let (reply, receiver) = oneshot::channel();
                        network.queue.push(Job { request_texts, sequences, reply }, urgency);
                        (lengths, receiver)
                    })
                    .collect()
            }
            Model::Hashing => missing
                .map(|text| {
                    let (reply, receiver) = oneshot::channel();
                    // The receiver is in hand, so that the answer cannot be lost.
                    let _sent = reply.send(vec![hashing::embed(text)]);
                    (vec![hashing::count_tokens(text)], receiver)
                })
                .collect(),
        };
        (known, pending)
    }

    /// Puts cached and new results into the order of the texts.
    fn collect(
        &self,
        role: Role,
        texts: &[String],
        urgency: Urgency,
        known: Vec<Option<Arc<Embedding>>>,
        results: Vec<(Vec<usize>, Vec<Vec<f32>>)>,
    ) -> Vec<Embedding> {
        let mut fresh = results.into_iter().flat_map(|(lengths, vectors)| lengths.into_iter().zip(vectors));
        let mut embeddings = Vec::with_capacity(texts.len());
        for (text, known) in texts.iter().zip(known) {
            if let Some(known) = known {
                embeddings.push(Embedding::clone(&known));
            } else if let Some((tokens, vector)) = fresh.next() {
                let embedding = Embedding { vector, tokens };
                if urgency == Urgency::Interactive {
                    self.cache.insert((role, text.clone()), Arc::new(embedding.clone()));
                }
                embeddings.push(embedding);
            }
        }
        embeddings
    }
}

type Pending = (Vec<usize>, oneshot::Receiver<Vec<Vec<f32>>>);

/// Groups consecutive sequences so that a group has at most `most` tokens (a single sequence may have more).
fn batches(sequences: Vec<Vec<u32>>, most: usize) -> Vec<Vec<Vec<u32>>> {
    let mut groups: Vec<Vec<Vec<u32>>> = Vec::new();
    let mut tokens = usize::MAX;
    for sequence in sequences {
        let length = sequence.len();
        match groups.last_mut() {
            Some(group) if tokens + length <= most => {
                group.push(sequence);
                tokens += length;
            }
            _ => {
                groups.push(vec![sequence]);
                tokens = length;
            }
        }
    }
    groups
}

fn work(queue: &Queue, encoder: &Encoder) {
    let mut scratch = Scratch::default();
    while let Some(Job { sequences, reply, .. }) = queue.next() {
        // A failed send means that the caller left in the meantime.
        let _unwanted = reply.send(encoder.embed(&sequences, &mut scratch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_the_order_and_the_limit() {
        let sequences: Vec<Vec<u32>> = [300, 200, 100, 600, 1, 1].iter().map(|&n| vec![0; n]).collect();
        let sizes: Vec<Vec<usize>> =
            batches(sequences, 512).iter().map(|group| group.iter().map(Vec::len).collect()).collect();
        assert_eq!(sizes, [vec![300, 200], vec![100], vec![600], vec![1, 1]]);
        assert!(batches(Vec::new(), 512).is_empty());
    }

    #[test]
    fn jobs_without_a_waiter_are_skipped_and_interactive_ones_go_first() {
        let queue = Queue::default();
        let job = |n: usize| {
            let (reply, receiver) = oneshot::channel();
            (Job { request_texts: n, sequences: vec![vec![0; n]], reply }, receiver)
        };
        let (bulk, _keep) = job(1);
        let (abandoned, gone) = job(2);
        let (urgent, _keep_too) = job(3);
        drop(gone);
        queue.push(bulk, Urgency::Bulk);
        queue.push(abandoned, Urgency::Interactive);
        queue.push(urgent, Urgency::Interactive);
        assert_eq!(queue.next().unwrap().sequences[0].len(), 3);
        assert_eq!(queue.next().unwrap().sequences[0].len(), 1);
        queue.lock().closed = true;
        assert!(queue.next().is_none());
    }

    #[test]
    fn small_requests_go_before_large_ones_and_equals_keep_their_order() {
        let queue = Queue::default();
        let mut waiters = Vec::new();
        for (request_texts, mark) in [(32, 1), (32, 2), (1, 3), (8, 4), (1, 5)] {
            let (reply, receiver) = oneshot::channel();
            waiters.push(receiver);
            queue.push(Job { request_texts, sequences: vec![vec![mark]], reply }, Urgency::Bulk);
        }
        let order: Vec<u32> = (0..5).map(|_| queue.next().unwrap().sequences[0][0]).collect();
        assert_eq!(order, [3, 5, 4, 1, 2]);
    }

    #[tokio::test]
    async fn cached_and_new_texts_come_back_in_order() {
        let engine = Engine::hashing_for_fault_tests();
        let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let first = engine.embed(Role::Query, &texts(&["b"]), Urgency::Interactive).await.unwrap();
        let all = engine.embed(Role::Query, &texts(&["a", "b", "c"]), Urgency::Interactive).await.unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[1], first[0]);
        assert_ne!(all[0].vector, all[2].vector);
    }
}
