//! The stack under test and the people who use it.

use crate::client::{Client, text};
use docuchat_local::{
    Stack,
    mailbox::Mail,
    tenant::{self, SignUp},
};
use libtest_mimic::Failed;
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use uuid::Uuid;

/// The running stack.
pub struct App {
    stack: Mutex<Option<Stack>>,
    running: docuchat_local::Running,
    sdk: aws_config::SdkConfig,
    http: reqwest::Client,
    disturbance: RwLock<()>,
    people: AtomicU64,
}

impl App {
    pub fn new(stack: Stack) -> Self {
        Self {
            running: stack.running().clone(),
            sdk: stack.cloud().sdk_config().clone(),
            stack: Mutex::new(Some(stack)),
            http: reqwest::Client::new(),
            disturbance: RwLock::new(()),
            people: AtomicU64::new(1),
        }
    }

    pub async fn stop(&self) {
        if let Some(stack) = self.stack.lock().await.take() {
            stack.stop().await;
        }
    }

    pub async fn beside_others(&self) -> RwLockReadGuard<'_, ()> {
        self.disturbance.read().await
    }

    pub async fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.disturbance.write().await
    }

    pub fn running(&self) -> &docuchat_local::Running {
        &self.running
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Somebody without a token or a tenant.
    pub fn anonymous(&self) -> Client {
        Client::new(self.http.clone(), &self.running.rest_url, &self.running.websocket_url)
    }

    /// A new tenant that everybody may join; gives its id.
    pub async fn tenant(&self) -> Result<String, Failed> {
        self.tenant_with(&SignUp::Open).await
    }

    pub async fn tenant_with(&self, sign_up: &SignUp) -> Result<String, Failed> {
        let id = Uuid::from_u128(
            (0xd0c0_c4a7_u128 << 96)
                | (0x4000_8000_u128 << 48)
                | u128::from(self.number())
                | (u128::from(std::process::id()) << 16),
        );
        let stack = self.stack.lock().await;
        let cloud = stack.as_ref().ok_or("the stack is stopped")?.cloud();
        let table = self.running.output("IdentityTableName").map_err(|problem| problem.to_string())?;
        tenant::add(cloud, table, id, "Test", sign_up).await.map_err(|problem| problem.to_string())?;
        Ok(id.to_string())
    }

    fn number(&self) -> u64 {
        self.people.fetch_add(1, Ordering::SeqCst)
    }

    /// An address that nobody has used before.
    pub fn address(&self) -> String {
        format!("person{}@example.com", self.number())
    }

    /// A new member of a new tenant.
    pub async fn member(&self) -> Result<Client, Failed> {
        let tenant = self.tenant().await?;
        self.member_of(&tenant).await
    }

    /// A new member of this tenant, signed in by an e-mailed code.
    pub async fn member_of(&self, tenant: &str) -> Result<Client, Failed> {
        self.sign_in(tenant, &self.address()).await
    }

    pub async fn sign_in(&self, tenant: &str, email: &str) -> Result<Client, Failed> {
        let client = self.anonymous().in_tenant(tenant);
        client.post("/v1/auth/request-code", &json!({ "email": email })).await?.expect(200)?;
        let code = self.code_for(email).await?;
        let answer = client
            .post("/v1/auth/verify-code", &json!({ "email": email, "code": code }))
            .await?
            .expect(200)?;
        Ok(client.with_token(text(&answer["access_token"])))
    }

    /// The messages to an address, oldest first.
    pub async fn mails_to(&self, email: &str) -> Result<Vec<Mail>, Failed> {
        let url = format!("{}.json", self.running.mailbox_url);
        let mut mails: Vec<Mail> = self.http.get(url).send().await?.json().await?;
        mails.retain(|mail| mail.to.iter().any(|to| to == email));
        mails.sort_by(|a, b| a.received_at.cmp(&b.received_at));
        Ok(mails)
    }

    /// The six digits of the last mail to an address.
    pub async fn code_for(&self, email: &str) -> Result<String, Failed> {
        for _ in 0..50 {
            if let Some(mail) = self.mails_to(email).await?.last() {
                let code = mail
                    .text
                    .lines()
                    .map(str::trim)
                    .find(|line| line.len() == 6 && line.chars().all(|c| c.is_ascii_digit()));
                return Ok(code.ok_or_else(|| format!("no code in {:?}", mail.text))?.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("no mail came".into())
    }

    pub fn output(&self, name: &str) -> Result<&str, Failed> {
        Ok(self.running.output(name).map_err(|problem| problem.to_string())?)
    }

    /// Calls a function directly, as an operator would.
    pub async fn invoke(&self, function: &str, payload: &Value) -> Result<Value, Failed> {
        let name = self.running.function(function).map_err(|problem| problem.to_string())?.to_owned();
        let stack = self.stack.lock().await;
        let cloud = stack.as_ref().ok_or("the stack is stopped")?.cloud();
        Ok(cloud.invoke(&name, payload).await.map_err(|problem| problem.to_string())?)
    }

    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.sdk)
    }

    pub fn s3(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::from_conf(
            aws_sdk_s3::config::Builder::from(&self.sdk).force_path_style(true).build(),
        )
    }

    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.sdk)
    }

    fn models(&self, path: &str) -> String {
        let base = self.running.models_url.trim_end_matches('/').trim_end_matches("/v1");
        format!("{base}{path}")
    }

    /// Makes the model service misbehave; only in a test that runs alone.
    pub async fn models_misbehave(&self, fault: &Value) -> Result<(), Failed> {
        let response = self.http.put(self.models("/_faults")).json(fault).send().await?;
        if response.status().is_success() { Ok(()) } else { Err(response.text().await?.into()) }
    }

    pub async fn models_behave(&self) -> Result<(), Failed> {
        self.http.delete(self.models("/_faults")).send().await?.error_for_status()?;
        Ok(())
    }

    /// What the model service says it served.
    pub async fn model_stats(&self) -> Result<Value, Failed> {
        Ok(self.http.get(self.models("/_stats")).send().await?.json().await?)
    }

    /// Rows that a query on the search index gives, as its owner.
    pub async fn count_in_index(&self, sql: &str, document: &str) -> Result<i64, Failed> {
        let (client, connection) =
            tokio_postgres::connect(&self.running.database_admin_url, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let row = client.query_one(sql, &[&Uuid::parse_str(document)?]).await?;
        connection.abort();
        Ok(row.get(0))
    }

    /// Chunks of a document in the search index.
    pub async fn chunks_of(&self, document: &str) -> Result<i64, Failed> {
        self.count_in_index("select count(*) from app.chunks where document_id = $1", document).await
    }

    /// Objects in the bucket under a prefix.
    pub async fn objects_under(&self, prefix: &str) -> Result<Vec<String>, Failed> {
        let listed = self
            .s3()
            .list_objects_v2()
            .bucket(self.output("BucketName")?)
            .prefix(prefix)
            .send()
            .await
            .map_err(|e| format!("{e:?}"))?;
        Ok(listed.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect())
    }
}
