//! `GET /health`, `/health/db`, `/health/ready` and `/health/detailed`: whether every dependency answers.
//!
//! | route | status | body |
//! |---|---|---|
//! | `/health` | 200 | [`Summary`] |
//! | `/health/db` | 200, 503 when it does not answer | [`Check`] of the search index's database |
//! | `/health/ready` | 200, 503 when one does not answer | [`Summary`] |
//! | `/health/detailed` | 200 | [`Details`] |
//!
//! All are asked at the same time, each for at most [`LIMIT`]. Why one does not answer is in the log only.

use crate::VERSION;
use docuchat_aws::{functions::Functions, health::StoreProbe, queue::Queue};
use docuchat_domain::{
    Error, Kind, Result,
    index::{PingResponse, SearchCall},
};
use docuchat_kit::{
    Env, RuntimeError, logs,
    rest::{Call, Reply},
};
use docuchat_models::Probe;
use serde::Serialize;
use std::{future::Future, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// How long a dependency may take.
pub const LIMIT: Duration = Duration::from_secs(3);

/// How long a report is shown again. The routes are public: without this, whoever calls them often would call every
/// dependency as often.
pub const FRESH: Duration = Duration::from_secs(2);

/// How a dependency is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It answered.
    Ok,
    /// It did not answer within [`LIMIT`].
    Timeout,
    /// It cannot be reached, or failed in a way that may pass.
    Unavailable,
    /// It refused: an address, a permission or a key is wrong.
    Misconfigured,
}

/// One dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Check {
    /// How it is.
    pub status: Status,
    /// How long it took to answer or to fail, in milliseconds.
    pub latency_ms: u64,
}

/// All dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Dependencies {
    /// The search index's database, through `index-search`.
    pub database: Check,
    /// The operational tables.
    pub dynamodb: Check,
    /// The bucket.
    pub object_store: Check,
    /// The ingest queue.
    pub queue: Check,
    /// The model service.
    pub models: Check,
}

impl Dependencies {
    /// Whether all of them answered.
    #[must_use]
    pub fn all_ok(&self) -> bool {
        let all = [self.database, self.dynamodb, self.object_store, self.queue, self.models];
        all.iter().all(|check| check.status == Status::Ok)
    }

    fn overall(&self) -> Overall {
        if self.all_ok() { Overall::Ok } else { Overall::Degraded }
    }
}

/// How the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Every dependency answered.
    Ok,
    /// At least one did not.
    Degraded,
}

/// The body of `/health` and `/health/ready`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Summary {
    /// How the service is.
    pub status: Overall,
    /// One by one.
    pub dependencies: Dependencies,
}

/// The body of `/health/detailed`.
#[derive(Debug, Clone, Serialize)]
pub struct Details<'a> {
    /// How the service is.
    pub status: Overall,
    /// The version of this build.
    pub version: &'static str,
    /// The deployment's stage.
    pub stage: &'a str,
    /// How long all checks took together, in milliseconds.
    pub latency_ms: u64,
    /// The last migration of the database, if it answered.
    pub migration: Option<&'a str>,
    /// One by one.
    pub dependencies: Dependencies,
}

/// What one round of checks found.
#[derive(Debug, Clone)]
struct Report {
    at: Instant,
    latency_ms: u64,
    migration: Option<String>,
    dependencies: Dependencies,
}

/// What the routes need.
#[derive(Debug)]
pub struct Health {
    stage: String,
    stores: StoreProbe,
    queue: Queue,
    functions: Functions,
    index_search: String,
    models: Probe,
    last: Mutex<Option<Report>>,
}

impl Health {
    /// From `STAGE`, `IDENTITY_TABLE`, `BUCKET`, `INGEST_QUEUE_URL`, `INDEX_SEARCH_FUNCTION`, `OPENAI_BASE_URL` and
    /// `OPENAI_API_KEY`.
    pub fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let config = docuchat_aws::config();
        Ok(Self {
            stage: env.optional("STAGE").unwrap_or_default(),
            stores: StoreProbe::new(&config, env.required("IDENTITY_TABLE")?, env.required("BUCKET")?),
            queue: Queue::new(&config, env.required("INGEST_QUEUE_URL")?),
            functions: Functions::new(&config),
            index_search: env.required("INDEX_SEARCH_FUNCTION")?,
            models: Probe::from_env(env)?,
            last: Mutex::new(None),
        })
    }

    /// Answers one request.
    pub async fn handle(&self, call: Call) -> Result<Reply> {
        let report = self.report().await;
        let dependencies = report.dependencies;
        let summary = Summary { status: dependencies.overall(), dependencies };
        match call.route.as_str() {
            "/health" => Reply::json(200, &summary),
            "/health/ready" => Reply::json(status(dependencies.all_ok()), &summary),
            "/health/db" => {
                Reply::json(status(dependencies.database.status == Status::Ok), &dependencies.database)
            }
            "/health/detailed" => Reply::json(
                200,
                &Details {
                    status: summary.status,
                    version: VERSION,
                    stage: &self.stage,
                    latency_ms: report.latency_ms,
                    migration: report.migration.as_deref(),
                    dependencies,
                },
            ),
            _ => Err(Error::not_found("route_not_found", "route")),
        }
    }

    async fn report(&self) -> Report {
        let mut last = self.last.lock().await;
        if let Some(report) = last.as_ref().filter(|report| report.at.elapsed() < FRESH) {
            return report.clone();
        }
        // Boxed: five SDK calls at once are a state machine of some 45 KB.
        let report = Box::pin(self.ask()).await;
        *last = Some(report.clone());
        report
    }

    async fn ask(&self) -> Report {
        let began = Instant::now();
        let ((database, migration), (dynamodb, ()), (object_store, ()), (queue, ()), (models, ())) = tokio::join!(
            check("database", self.migration()),
            check("dynamodb", self.stores.table()),
            check("object_store", self.stores.bucket()),
            check("queue", self.queue.ping()),
            check("models", self.models.ping()),
        );
        Report {
            at: Instant::now(),
            latency_ms: millis(began),
            migration,
            dependencies: Dependencies { database, dynamodb, object_store, queue, models },
        }
    }

    async fn migration(&self) -> Result<Option<String>> {
        let pong: PingResponse =
            self.functions.call(&self.index_search, &SearchCall::Ping { ping: true }).await?;
        if !pong.ok {
            return Err(Error::unavailable("asking the database", "it said no"));
        }
        Ok(Some(pong.migration))
    }
}

/// Asks one dependency; what it says is empty when it does not answer.
async fn check<T: Default>(name: &'static str, question: impl Future<Output = Result<T>>) -> (Check, T) {
    let began = Instant::now();
    let outcome = tokio::time::timeout(LIMIT, question).await;
    let latency_ms = millis(began);
    logs::note(&format!("{name}_ms"), latency_ms);
    let (status, answer) = match outcome {
        Ok(Ok(answer)) => (Status::Ok, answer),
        Ok(Err(error)) => {
            tracing::warn!(dependency = name, error = error.chain(), "a dependency failed");
            (status_of(&error), T::default())
        }
        Err(_) => {
            tracing::warn!(dependency = name, latency_ms, "a dependency did not answer");
            (Status::Timeout, T::default())
        }
    };
    (Check { status, latency_ms }, answer)
}

/// What a retry may cure is unavailable; the rest is a mistake in the deployment.
const fn status_of(error: &Error) -> Status {
    match error.kind() {
        Kind::Unavailable | Kind::RateLimited => Status::Unavailable,
        _ => Status::Misconfigured,
    }
}

const fn status(ok: bool) -> u16 {
    if ok { 200 } else { 503 }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const GOOD: Check = Check { status: Status::Ok, latency_ms: 3 };

    fn dependencies(models: Status) -> Dependencies {
        let models = Check { status: models, latency_ms: 5 };
        Dependencies { database: GOOD, dynamodb: GOOD, object_store: GOOD, queue: GOOD, models }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_dependency_is_given_up() {
        let (check, answer) = check::<Option<String>>("database", pending()).await;
        assert_eq!((check.status, check.latency_ms, answer), (Status::Timeout, 3000, None));
    }

    #[tokio::test]
    async fn failures_are_told_apart_without_their_cause() {
        let down =
            check::<()>("queue", async { Err(Error::unavailable("asking", "host db-17 refused")) }).await.0;
        assert_eq!(down.status, Status::Unavailable);
        let key =
            check::<()>("models", async { Err(Error::new(Kind::Internal, "model_rejected", "key sk-1")) })
                .await
                .0;
        assert_eq!(key.status, Status::Misconfigured);
        let shown = serde_json::to_string(&[down, key]).unwrap();
        assert!(!shown.contains("db-17") && !shown.contains("sk-1"), "{shown}");
    }

    #[test]
    fn one_failure_degrades_the_whole() {
        assert_eq!(dependencies(Status::Ok).overall(), Overall::Ok);
        let some = dependencies(Status::Timeout);
        assert_eq!((some.overall(), status(some.all_ok())), (Overall::Degraded, 503));
    }

    #[test]
    fn the_body() {
        let dependencies = dependencies(Status::Misconfigured);
        let body = serde_json::to_value(Summary { status: dependencies.overall(), dependencies }).unwrap();
        assert_eq!(body["status"], "degraded");
        assert_eq!(
            body["dependencies"]["models"],
            serde_json::json!({ "status": "misconfigured", "latency_ms": 5 })
        );
        assert_eq!(body["dependencies"]["database"]["status"], "ok");
    }
}
