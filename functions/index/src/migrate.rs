//! `index-migrate`: brings the schema up to date, as a CloudFormation custom resource or by a direct call.
//!
//! One transaction for everything: a migration that fails leaves the database as it was.

use crate::connection::Database;
use docuchat_domain::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_postgres::{Client, Transaction, types::Type};

/// Every migration in order: version and SQL, in which `{{dimensions}}` stands for the length of the vectors.
pub const MIGRATIONS: &[(&str, &str)] =
    &[("0001_search_index", include_str!("../../../infra/migrations/0001_search_index.sql"))];

/// Run every time, before the migrations.
const APP_ROLE: &str = include_str!("../../../infra/migrations/app_role.sql");

/// "docuchat" as a number: whoever migrates this database waits for the one before.
const LOCK: i64 = 0x646F_6375_6368_6174;

/// The first pgvector whose filtered searches go on until they have enough rows (`hnsw.iterative_scan`).
const PGVECTOR_MIN: (u32, u32) = (0, 8);

/// pgvector indexes a `halfvec` of at most this length.
const MAX_DIMENSIONS: u32 = 4000;

/// What the index is for: the model and the length of its vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrateRequest {
    /// Numbers per vector, 1 to 4000.
    pub dimensions: u32,
    /// The model that makes the vectors.
    pub embed_model: String,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrateResponse {
    /// Versions applied now, in order.
    pub applied: Vec<String>,
    /// How many had been applied before.
    pub already: usize,
    /// The version of pgvector.
    pub pgvector: String,
}

/// How the application's role logs in.
#[derive(Debug, Clone)]
pub enum AppLogin {
    /// By this password.
    Password(String),
    /// By an IAM token.
    Iam,
}

impl AppLogin {
    /// `DATABASE_APP_PASSWORD`; empty or missing means IAM.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var("DATABASE_APP_PASSWORD") {
            Ok(password) if !password.is_empty() => Self::Password(password),
            _ => Self::Iam,
        }
    }
}

/// Migrates. Running it again changes nothing but the password of the application's role.
///
/// # Errors
/// Conflict with code `embedding_changed` if the index was made for another model or length, `migration_changed` if an
/// applied migration is not what it was, `pgvector_too_old`; otherwise as the database fails.
pub async fn migrate(
    client: &mut Client,
    request: &MigrateRequest,
    login: &AppLogin,
) -> Result<MigrateResponse> {
    migrate_with(client, request, login, MIGRATIONS).await
}

async fn migrate_with(
    client: &mut Client,
    request: &MigrateRequest,
    login: &AppLogin,
    migrations: &[(&str, &str)],
) -> Result<MigrateResponse> {
    if request.dimensions == 0 || request.dimensions > MAX_DIMENSIONS {
        let detail =
            format!("EMBEDDING_DIMENSIONS is {}; it must be from 1 to {MAX_DIMENSIONS}.", request.dimensions);
        return Err(Error::invalid("dimensions", detail));
    }
    if request.embed_model.trim().is_empty() {
        return Err(Error::invalid("embed_model", "EMBEDDING_MODEL is empty."));
    }
    let transaction = client.transaction().await.map_err(db)?;
    transaction.batch_execute(&format!("select pg_advisory_xact_lock({LOCK})")).await.map_err(db)?;
    let pgvector = extension(&transaction).await?;
    transaction
        .batch_execute(
            "create schema if not exists app;
             create table if not exists app.schema_migrations (
               version    text primary key,
               checksum   text not null,
               applied_at timestamptz not null default now()
             )",
        )
        .await
        .map_err(db)?;
    check_embedding(&transaction, request).await?;
    app_role(&transaction, login).await?;

    let mut response = MigrateResponse { applied: Vec::new(), already: 0, pgvector };
    for (version, sql) in migrations {
        let checksum = checksum(sql);
        match applied(&transaction, version).await? {
            Some(before) if before == checksum => response.already += 1,
            Some(_) => {
                let detail = format!(
                    "Migration {version} was changed after it had been applied to this database. Restore its text and put \
                     the change into a new migration; a local stack whose documents may go starts anew after \
                     `cargo local reset`."
                );
                return Err(Error::new(Kind::Conflict, "migration_changed", detail));
            }
            None => {
                let sql = sql.replace("{{dimensions}}", &request.dimensions.to_string());
                transaction.batch_execute(&sql).await.map_err(db)?;
                transaction
                    .query_typed(
                        "insert into app.schema_migrations (version, checksum) values ($1, $2)",
                        &[(version, Type::TEXT), (&checksum, Type::TEXT)],
                    )
                    .await
                    .map_err(db)?;
                response.applied.push((*version).to_owned());
            }
        }
    }
    let dimensions = i32::try_from(request.dimensions).unwrap_or(i32::MAX);
    transaction
        .query_typed(
            "insert into app.settings (embed_model, dimensions) values ($1, $2) on conflict do nothing",
            &[(&request.embed_model, Type::TEXT), (&dimensions, Type::INT4)],
        )
        .await
        .map_err(db)?;
    transaction.commit().await.map_err(db)?;
    Ok(response)
}

fn db(error: tokio_postgres::Error) -> Error {
    crate::connection::failure("migrating the database", error)
}

fn checksum(sql: &str) -> String {
    use std::fmt::Write as _;
    // A checkout on Windows must not look like a change.
    Sha256::digest(sql.replace("\r\n", "\n")).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Installs or updates pgvector and answers its version.
async fn extension(transaction: &Transaction<'_>) -> Result<String> {
    let row = transaction
        .query_typed_opt(
            "select default_version, installed_version from pg_available_extensions where name = 'vector'",
            &[],
        )
        .await
        .map_err(db)?;
    let row = row.ok_or_else(|| too_old("This PostgreSQL server does not have the extension pgvector"))?;
    let default: String = row.try_get(0).map_err(db)?;
    let installed: Option<String> = row.try_get(1).map_err(db)?;
    let version = match installed {
        Some(installed) if is_recent(&installed) => return Ok(installed),
        _ => default,
    };
    if !is_recent(&version) {
        return Err(too_old(&format!("This PostgreSQL server has pgvector {version}")));
    }
    transaction
        .batch_execute("create extension if not exists vector; alter extension vector update")
        .await
        .map_err(db)?;
    Ok(version)
}

fn is_recent(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= PGVECTOR_MIN
}

fn too_old(found: &str) -> Error {
    let (major, minor) = PGVECTOR_MIN;
    let detail = format!(
        "{found}; DocuChat needs {major}.{minor} or later, because older versions lose results when a search is filtered \
         by tenant. Upgrade the extension, or the server it comes with."
    );
    Error::new(Kind::Conflict, "pgvector_too_old", detail)
}

/// Refuses to use an index for vectors that are not those it was made for.
async fn check_embedding(transaction: &Transaction<'_>, request: &MigrateRequest) -> Result<()> {
    let exists = transaction
        .query_typed_opt("select 1 from pg_tables where schemaname = 'app' and tablename = 'settings'", &[])
        .await
        .map_err(db)?;
    if exists.is_none() {
        return Ok(());
    }
    let stored = transaction
        .query_typed_opt("select embed_model, dimensions from app.settings", &[])
        .await
        .map_err(db)?;
    let Some(stored) = stored else { return Ok(()) };
    let (model, dimensions): (String, i32) = (stored.try_get(0).map_err(db)?, stored.try_get(1).map_err(db)?);
    if model == request.embed_model && i64::from(dimensions) == i64::from(request.dimensions) {
        return Ok(());
    }
    let detail = format!(
        "This index holds vectors of {model} ({dimensions} dimensions) and cannot take those of {} ({}): vectors of different \
         models cannot be compared. Set EMBEDDING_MODEL={model} and EMBEDDING_DIMENSIONS={dimensions} again, or start with \
         an empty database (on one machine: `cargo local reset`) and upload the documents again.",
        request.embed_model, request.dimensions
    );
    Err(Error::new(Kind::Conflict, "embedding_changed", detail))
}

async fn app_role(transaction: &Transaction<'_>, login: &AppLogin) -> Result<()> {
    transaction
        .batch_execute(
            "do $$ begin
               if not exists (select 1 from pg_roles where rolname = 'docuchat_app') then
                 create role docuchat_app login nobypassrls;
               end if;
             end $$",
        )
        .await
        .map_err(db)?;
    match login {
        AppLogin::Password(password) => {
            // ALTER ROLE takes no parameters, so the server quotes the password first.
            let row = transaction
                .query_typed_one(
                    "select format('alter role docuchat_app login password %L', $1)",
                    &[(password, Type::TEXT)],
                )
                .await
                .map_err(db)?;
            let statement: String = row.try_get(0).map_err(db)?;
            transaction.batch_execute(&statement).await.map_err(db)?;
        }
        AppLogin::Iam => {
            let exists = transaction
                .query_typed_opt("select 1 from pg_roles where rolname = 'rds_iam'", &[])
                .await
                .map_err(db)?;
            if exists.is_none() {
                let detail = "This server is not Amazon RDS, so the role docuchat_app cannot log in by IAM: set \
                              DATABASE_APP_PASSWORD.";
                return Err(Error::new(Kind::Conflict, "no_iam_login", detail));
            }
            transaction.batch_execute("grant rds_iam to docuchat_app").await.map_err(db)?;
        }
    }
    transaction.batch_execute(APP_ROLE).await.map_err(db)
}

async fn applied(transaction: &Transaction<'_>, version: &str) -> Result<Option<String>> {
    let row = transaction
        .query_typed_opt(
            "select checksum from app.schema_migrations where version = $1",
            &[(&version, Type::TEXT)],
        )
        .await
        .map_err(db)?;
    row.map(|row| row.try_get(0)).transpose().map_err(db)
}

/// How a call of `index-migrate` looks.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Call {
    /// From CloudFormation.
    Resource(ResourceEvent),
    /// From anyone else.
    Direct(MigrateRequest),
}

/// A custom resource's request
/// (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requests.html>).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceEvent {
    /// `Create`, `Update` or `Delete`.
    pub request_type: String,
    /// A presigned S3 URL, valid for hours, which the answer is put to.
    #[serde(rename = "ResponseURL")]
    pub response_url: String,
    /// Repeated in the answer.
    pub stack_id: String,
    /// Repeated in the answer.
    pub request_id: String,
    /// Repeated in the answer.
    pub logical_resource_id: String,
    /// Repeated in the answer; there is none yet on Create.
    #[serde(default)]
    pub physical_resource_id: Option<String>,
    /// `Dimensions` and `EmbedModel`, as text.
    #[serde(default)]
    pub resource_properties: ResourceProperties,
}

/// The properties that the template gives the resource.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResourceProperties {
    /// Numbers per vector; CloudFormation makes text of every number.
    pub dimensions: String,
    /// The model that makes the vectors.
    pub embed_model: String,
}

/// The answer to CloudFormation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ResourceAnswer<'a> {
    status: &'static str,
    /// Shown in the stack's events. CloudFormation takes 4 KB in all.
    reason: String,
    physical_resource_id: &'a str,
    stack_id: &'a str,
    request_id: &'a str,
    logical_resource_id: &'a str,
    data: Option<MigrateResponse>,
}

/// CloudFormation waits an hour for an answer that never comes, so this gives one before the function's own 300 s end.
const RESOURCE_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(4);

/// Handles one call. A custom resource is always answered, by a failure if need be, and the call then succeeds.
///
/// # Errors
/// Of a direct call, those of [`migrate`]; of a custom resource, if its answer cannot be delivered.
pub async fn handle(database: &Database, login: &AppLogin, call: Call) -> Result<Option<MigrateResponse>> {
    let event = match call {
        Call::Direct(request) => {
            let mut session = database.session().await?;
            return migrate(session.client()?, &request, login).await.map(Some);
        }
        Call::Resource(event) => event,
    };
    let outcome =
        tokio::time::timeout(RESOURCE_TIMEOUT, apply(database, login, &event)).await.unwrap_or_else(|_| {
            Err(Error::unavailable("migrating the database", "it took longer than 240 seconds"))
        });
    let (status, reason, data) = match outcome {
        Ok(data) => ("SUCCESS", "done".to_owned(), data),
        Err(error) => {
            // Only those who may see the stack's events read it, and they need the cause.
            let reason = error.chain().chars().take(1000).collect();
            tracing::error!(%reason, "the migration failed");
            ("FAILED", reason, None)
        }
    };
    let answer = ResourceAnswer {
        status,
        reason,
        physical_resource_id: event.physical_resource_id.as_deref().unwrap_or("docuchat-search-index"),
        stack_id: &event.stack_id,
        request_id: &event.request_id,
        logical_resource_id: &event.logical_resource_id,
        data,
    };
    put_answer(&event.response_url, &answer).await?;
    Ok(answer.data)
}

async fn apply(
    database: &Database,
    login: &AppLogin,
    event: &ResourceEvent,
) -> Result<Option<MigrateResponse>> {
    // The data goes with the database, which has its own deletion policy.
    if event.request_type == "Delete" {
        return Ok(None);
    }
    let properties = &event.resource_properties;
    let dimensions =
        properties.dimensions.trim().parse().map_err(|_| {
            Error::invalid("dimensions", "The resource's property Dimensions is not a number.")
        })?;
    let request = MigrateRequest { dimensions, embed_model: properties.embed_model.clone() };
    let mut session = database.session().await?;
    migrate(session.client()?, &request, login).await.map(Some)
}

async fn put_answer(url: &str, answer: &ResourceAnswer<'_>) -> Result<()> {
    let what = "answering CloudFormation";
    let body = serde_json::to_vec(answer).map_err(|error| Error::internal(what, error))?;
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal(what, error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(std::time::Duration::from_secs(10))
        .build()
        .map_err(|error| Error::internal(what, error))?;
    let mut attempt = 0;
    loop {
        // The URL is signed for an empty content type.
        let request = client.put(url).header("content-type", "").body(body.clone());
        let result = request.send().await.and_then(reqwest::Response::error_for_status);
        attempt += 1;
        match result {
            Ok(_) => return Ok(()),
            // The URL carries a signature: without_url keeps it out of the log.
            Err(error) if attempt == 3 => return Err(Error::unavailable(what, error.without_url())),
            Err(_) => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DIMENSIONS, Document, MODEL, TestDatabase, tenant};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn migrating_twice_changes_nothing() {
        let mut database = TestDatabase::empty().await;
        let first = database.migrate(DIMENSIONS, MODEL).await.unwrap();
        assert_eq!((first.applied.as_slice(), first.already), ([MIGRATIONS[0].0.to_owned()].as_slice(), 0));
        database.write(&Document::new(tenant(1), &["kept"])).await;
        let second = database.migrate(DIMENSIONS, MODEL).await.unwrap();
        assert_eq!((second.applied.len(), second.already, second.pgvector), (0, 1, first.pgvector));
        assert_eq!(database.count("select count(*) from app.chunks").await, 1);
        database.finish().await;
    }

    #[tokio::test]
    async fn another_model_or_length_is_refused_with_what_to_do() {
        let mut database = TestDatabase::start().await;
        for (dimensions, model) in [(DIMENSIONS, "other"), (1536, MODEL)] {
            let error = database.migrate(dimensions, model).await.unwrap_err();
            assert_eq!(error.code(), "embedding_changed");
            assert!(
                error.detail().contains("Set EMBEDDING_MODEL=test-model and EMBEDDING_DIMENSIONS=8 again"),
                "{error}"
            );
        }
        for dimensions in [0, 4001] {
            assert_eq!(database.migrate(dimensions, MODEL).await.unwrap_err().code(), "dimensions");
        }
        database.finish().await;
    }

    #[tokio::test]
    async fn a_changed_or_failing_migration_leaves_everything_as_it_was() {
        let mut database = TestDatabase::start().await;
        let request = MigrateRequest { dimensions: DIMENSIONS, embed_model: MODEL.into() };
        let login = AppLogin::Password("it's the app's".into());
        let turn = database.turn().await;
        let edited = [(MIGRATIONS[0].0, "select 1")];
        let error = migrate_with(&mut database.admin, &request, &login, &edited).await.unwrap_err();
        assert_eq!(error.code(), "migration_changed");
        assert!(error.detail().contains("0001_search_index"), "{error}");
        let failing = [MIGRATIONS[0], ("0002_half", "create table app.half (); select 1 / 0")];
        let error = migrate_with(&mut database.admin, &request, &login, &failing).await.unwrap_err();
        assert!(error.chain().contains("division by zero"), "{}", error.chain());
        assert_eq!(database.count("select count(*) from pg_tables where tablename = 'half'").await, 0);
        assert_eq!(database.count("select count(*) from app.schema_migrations").await, 1);
        drop(turn);
        database.finish().await;
    }

    #[tokio::test]
    async fn the_settings_of_the_role_apply_in_its_sessions() {
        let database = TestDatabase::start().await;
        database.write(&Document::new(tenant(1), &["a"])).await;
        let mut session = database.app.session().await.unwrap();
        let client = session.client().unwrap();
        // Loads pgvector, whose settings are mere placeholders before.
        client.batch_execute("select '[1]'::vector").await.unwrap();
        for (name, value) in [
            ("hnsw.iterative_scan", "relaxed_order"),
            ("hnsw.ef_search", "100"),
            ("statement_timeout", "15s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("jit", "off"),
        ] {
            let row = client
                .query_one("select setting || coalesce(unit, ''), current_setting(name), source from pg_settings where name = $1", &[&name])
                .await
                .unwrap();
            assert_eq!((row.get::<_, &str>(1), row.get::<_, &str>(2)), (value, "user"), "{name}");
        }
        let plain: bool = database
            .admin
            .query_one("select bool_and(attstorage = 'p') and count(*) = 17 from pg_attribute a join pg_class c on c.oid = attrelid
                        where attname = 'embedding' and relname like 'chunks%' and relkind in ('r', 'p')", &[])
            .await
            .unwrap()
            .get(0);
        assert!(plain, "the partitions keep vectors inside the row");
        drop(session);
        database.finish().await;
    }

    #[tokio::test]
    async fn folding_is_the_same_as_in_rust() {
        let database = TestDatabase::start().await;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/text/golden/fold.tsv");
        let golden = std::fs::read_to_string(path).unwrap();
        let mut cases = 0;
        for line in golden.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (input, expected) = line.split_once('\t').unwrap();
            let (input, expected) = (unescape(input), unescape(expected));
            let folded: String =
                database.admin.query_one("select app.fold($1)", &[&input]).await.unwrap().get(0);
            assert_eq!(folded, expected, "{}", input.escape_unicode());
            cases += 1;
        }
        assert!(cases > 10, "{cases} cases");
        database.finish().await;
    }

    /// The golden file's escapes, which are those of JSON.
    fn unescape(text: &str) -> String {
        serde_json::from_str(&format!("\"{}\"", text.replace('"', "\\\""))).unwrap()
    }

    #[test]
    fn pgvector_before_0_8_is_too_old() {
        for (version, recent) in
            [("0.8.0", true), ("0.8.6", true), ("1.0", true), ("0.7.4", false), ("0.10.0", true), ("", false)]
        {
            assert_eq!(is_recent(version), recent, "{version}");
        }
        let error = too_old("This PostgreSQL server has pgvector 0.7.4");
        assert!(
            error.detail().starts_with("This PostgreSQL server has pgvector 0.7.4; DocuChat needs 0.8"),
            "{error}"
        );
    }

    /// Takes one PUT and gives back its head and body.
    async fn receiver() -> (String, tokio::task::JoinHandle<(String, serde_json::Value)>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/answer?X-Amz-Signature=s", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            loop {
                let mut piece = [0; 4096];
                let n = socket.read(&mut piece).await.unwrap();
                received.extend_from_slice(&piece[..n]);
                let text = String::from_utf8_lossy(&received).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                if let Ok(body) = serde_json::from_str(body) {
                    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    return (head.to_lowercase(), body);
                }
            }
        });
        (url, task)
    }

    async fn resource(database: &Database, request_type: &str, dimensions: &str) -> serde_json::Value {
        let (url, received) = receiver().await;
        let call = serde_json::from_value(serde_json::json!({
            "RequestType": request_type, "ResponseURL": url, "StackId": "stack", "RequestId": "request",
            "LogicalResourceId": "SearchIndex", "ResourceType": "Custom::SearchIndex", "ServiceToken": "arn",
            "ResourceProperties": { "ServiceToken": "arn", "Dimensions": dimensions, "EmbedModel": MODEL },
        }));
        handle(database, &AppLogin::Password("it's the app's".into()), call.unwrap()).await.unwrap();
        let (head, body) = received.await.unwrap();
        assert!(
            head.starts_with("put /answer?x-amz-signature=s") && head.contains("content-type: \r\n"),
            "{head}"
        );
        assert_eq!((&body["StackId"], &body["LogicalResourceId"]), (&"stack".into(), &"SearchIndex".into()));
        assert_eq!(
            (&body["RequestId"], &body["PhysicalResourceId"]),
            (&"request".into(), &"docuchat-search-index".into())
        );
        body
    }

    #[tokio::test]
    async fn a_custom_resource_is_always_answered() {
        let test = TestDatabase::empty().await;
        let database = test.admin_database();
        let turn = test.turn().await;
        let created = resource(&database, "Create", "8").await;
        assert_eq!((&created["Status"], &created["Data"]["already"]), (&"SUCCESS".into(), &0.into()));
        let refused = resource(&database, "Update", "16").await;
        assert_eq!(refused["Status"], "FAILED");
        assert!(refused["Reason"].as_str().unwrap().contains("embedding_changed"), "{refused}");
        assert_eq!(resource(&database, "Update", "many").await["Status"], "FAILED");
        assert_eq!(resource(&database, "Delete", "").await["Status"], "SUCCESS");
        assert_eq!(test.count("select count(*) from app.settings").await, 1);
        drop(turn);
        test.finish().await;
    }
}
