//! A database per test on a real PostgreSQL with pgvector, which the first test of the process starts.

use crate::{
    connection::{Database, Role, Settings, connect},
    migrate::{AppLogin, MigrateRequest, migrate},
    write::{self, Artifacts, Body},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use docuchat_domain::{
    DocumentId, Result, SystemClock, SystemEntropy, TenantId,
    artifact::{Chunk, Header, VERSION},
    index::{SearchRequest, WriteOutcome, WriteRequest},
};
use futures_util::{StreamExt, stream};
use std::{collections::HashMap, sync::Arc};
use tokio_postgres::Client;

pub const DIMENSIONS: u32 = 8;
pub const MODEL: &str = "test-model";
const APP_PASSWORD: &str = "it's the app's";

/// Roles belong to the whole server, and PostgreSQL refuses two ALTER ROLE at once.
static MIGRATING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

pub fn settings(role: Role, url: &str) -> Settings {
    Settings::from_lookup(role, |name| name.ends_with("URL").then(|| url.to_owned())).unwrap()
}

pub struct TestDatabase {
    server: String,
    name: String,
    pub admin: Client,
    pub app: Database,
}

impl TestDatabase {
    /// An empty database.
    pub async fn empty() -> Self {
        let server = docuchat_local::testing::database_url().await.unwrap();
        let name =
            format!("docuchat_test_{}", DocumentId::generate(&SystemClock, &SystemEntropy).uuid().simple());
        let root = connect(&settings(Role::Admin, &server), &SystemClock).await.unwrap();
        root.batch_execute(&format!("create database {name}")).await.unwrap();
        let (login, host) = server.trim_start_matches("postgres://").split_once('@').unwrap();
        let host = host.split('/').next().unwrap();
        let admin = settings(Role::Admin, &format!("postgres://{login}@{host}/{name}"));
        let admin = connect(&admin, &SystemClock).await.unwrap();
        let password = APP_PASSWORD.replace('\'', "%27").replace(' ', "%20");
        let app = settings(Role::App, &format!("postgres://docuchat_app:{password}@{host}/{name}"));
        Self { admin, app: Database::new(app, Arc::new(SystemClock)), server, name }
    }

    /// A migrated database.
    pub async fn start() -> Self {
        let mut database = Self::empty().await;
        database.migrate(DIMENSIONS, MODEL).await.unwrap();
        database
    }

    pub async fn migrate(&mut self, dimensions: u32, model: &str) -> Result<crate::migrate::MigrateResponse> {
        let _turn = MIGRATING.lock().await;
        let request = MigrateRequest { dimensions, embed_model: model.into() };
        migrate(&mut self.admin, &request, &AppLogin::Password(APP_PASSWORD.into())).await
    }

    pub fn admin_database(&self) -> Database {
        let (login, host) = self.server.trim_start_matches("postgres://").split_once('@').unwrap();
        let host = host.split('/').next().unwrap();
        let url = format!("postgres://{login}@{host}/{}", self.name);
        Database::new(settings(Role::Admin, &url), Arc::new(SystemClock))
    }

    /// A connection of its own for the application's role.
    pub fn another_app(&self) -> Database {
        Database::new(self.app.settings().clone(), Arc::new(SystemClock))
    }

    pub async fn turn(&self) -> tokio::sync::MutexGuard<'static, ()> {
        MIGRATING.lock().await
    }

    pub async fn write(&self, document: &Document) -> WriteOutcome {
        write::handle(&self.app, &Objects::of(document), &document.request()).await.unwrap()
    }

    pub async fn count(&self, sql: &str) -> i64 {
        self.admin.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub async fn finish(self) {
        drop((self.admin, self.app));
        let root = connect(&settings(Role::Admin, &self.server), &SystemClock).await.unwrap();
        root.batch_execute(&format!("drop database {} with (force)", self.name)).await.unwrap();
    }
}

pub fn tenant(n: u8) -> TenantId {
    format!("d0c0c4a7-0000-4000-8000-0000000000{n:02x}").parse().unwrap()
}

pub fn new_document_id() -> DocumentId {
    DocumentId::generate(&SystemClock, &SystemEntropy)
}

/// A vector that points mostly along one axis.
pub fn axis(n: usize) -> Vec<f32> {
    (0..DIMENSIONS as usize).map(|i| if i == n { 1.0 } else { 0.05 }).collect()
}

pub fn encode(vector: &[f32]) -> String {
    BASE64_STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>())
}

/// A document to be written: one chunk per text, the vector of chunk n along axis n.
#[derive(Clone)]
pub struct Document {
    pub header: Header,
    pub chunks: Vec<Chunk>,
    pub collection: Option<docuchat_domain::CollectionId>,
}

impl Document {
    pub fn new(tenant_id: TenantId, texts: &[&str]) -> Self {
        let chunks = texts.iter().zip(0u32..).map(|(text, ordinal)| Chunk {
            ordinal,
            page_start: ordinal + 1,
            page_end: ordinal + 2,
            page_breaks: vec![5],
            char_start: ordinal * 100,
            char_end: ordinal * 100 + 90,
            tokens: 9,
            text: (*text).to_owned(),
            vector: encode(&axis(ordinal as usize % DIMENSIONS as usize)),
        });
        let header = Header {
            version: VERSION,
            tenant_id,
            document_id: new_document_id(),
            generation: 1,
            title: "A title".into(),
            file_name: "a.pdf".into(),
            embed_model: MODEL.into(),
            dimensions: DIMENSIONS,
            pages: 3,
            chunks: u32::try_from(texts.len()).unwrap(),
            sha256: "00".into(),
        };
        Self { header, chunks: chunks.collect(), collection: None }
    }

    pub fn request(&self) -> WriteRequest {
        WriteRequest {
            tenant_id: self.header.tenant_id,
            document_id: self.header.document_id,
            generation: self.header.generation,
            collection_id: self.collection,
            bucket: "bucket".into(),
            artifact_key: "key".into(),
        }
    }

    pub fn lines(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(&self.header).unwrap();
        for chunk in &self.chunks {
            bytes.push(b'\n');
            bytes.extend(serde_json::to_vec(chunk).unwrap());
        }
        bytes
    }
}

/// A bucket in memory, read in pieces of 1000 bytes.
pub struct Objects(HashMap<(String, String), Vec<u8>>);

impl Objects {
    pub fn of(document: &Document) -> Self {
        Self::holding(document.lines())
    }

    pub fn holding(bytes: Vec<u8>) -> Self {
        Self(HashMap::from([(("bucket".into(), "key".into()), bytes)]))
    }

    pub fn none() -> Self {
        Self(HashMap::new())
    }
}

impl Artifacts for Objects {
    async fn open(&self, bucket: &str, key: &str) -> Result<Option<Body>> {
        Ok(self.0.get(&(bucket.to_owned(), key.to_owned())).map(|bytes| {
            let pieces: Vec<_> = bytes.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            stream::iter(pieces).boxed()
        }))
    }
}

pub fn question(tenant_id: TenantId, text: &str, vector: Vec<f32>) -> SearchRequest {
    SearchRequest { tenant_id, text: text.into(), vector, limit: 10, collections: None, documents: None }
}
