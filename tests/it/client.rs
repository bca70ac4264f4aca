//! An outside client that shows everything it gets: status, headers and body.

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use libtest_mimic::Failed;

/// A response as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Fails the test unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Result<Value, Failed> {
        if self.status == status {
            Ok(self.body)
        } else {
            Err(format!("expected {status}, got {} {}", self.status, self.body).into())
        }
    }

    /// Fails the test unless it is a complete problem (RFC 9457) with this status and code.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Result<Value, Failed> {
        let media_type =
            self.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let complete = ["type", "title", "detail"].iter().all(|field| self.body[*field].is_string());
        if self.status == status
            && self.body["code"] == code
            && self.body["status"] == status
            && complete
            && media_type.starts_with("application/problem+json")
        {
            return Ok(self.body);
        }
        Err(format!("expected the problem {status} {code}, got {} {media_type} {}", self.status, self.body)
            .into())
    }
}

/// Somebody with (or without) a token, in a tenant.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    rest_url: String,
    websocket_url: String,
    pub tenant: Option<String>,
    pub token: Option<String>,
}

impl Client {
    pub fn new(http: reqwest::Client, rest_url: &str, websocket_url: &str) -> Self {
        Self {
            http,
            rest_url: rest_url.into(),
            websocket_url: websocket_url.into(),
            tenant: None,
            token: None,
        }
    }

    pub fn in_tenant(&self, tenant: impl Into<String>) -> Self {
        Self { tenant: Some(tenant.into()), ..self.clone() }
    }

    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// A request with the client's tenant and token, and whatever the closure adds.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Answer, Failed> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.rest_url)).timeout(Duration::from_mins(1));
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Tenant-ID", tenant);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = change(request).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, body })
    }

    pub async fn get(&self, path: &str) -> Result<Answer, Failed> {
        self.send(Method::GET, path, |request| request).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer, Failed> {
        self.send(Method::DELETE, path, |request| request).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failed> {
        self.send(Method::POST, path, |request| request.json(body)).await
    }

    /// Announces a file and sends its bytes to the bucket, as a browser would; gives the document's id.
    pub async fn upload(&self, name: &str, content_type: &str, bytes: &[u8]) -> Result<String, Failed> {
        let body = json!({ "filename": name, "size": bytes.len(), "content_type": content_type });
        let created = self.post("/v1/files", &body).await?.expect(201)?;
        let status = self.post_form(&created["upload"], name, content_type, bytes).await?;
        if !status.is_success() {
            return Err(format!("the bucket answered {status}").into());
        }
        Ok(text(&created["document_id"]))
    }

    /// Sends a form that `POST /v1/files` described.
    pub async fn post_form(
        &self,
        upload: &Value,
        name: &str,
        content_type: &str,
        bytes: &[u8],
    ) -> Result<StatusCode, Failed> {
        let mut form = reqwest::multipart::Form::new();
        for (field, value) in upload["fields"].as_object().ok_or("no form fields")? {
            form = form.text(field.clone(), text(value));
        }
        let part = reqwest::multipart::Part::bytes(bytes.to_vec())
            .file_name(name.to_owned())
            .mime_str(content_type)?;
        let response = self.http.post(text(&upload["url"])).multipart(form.part("file", part)).send().await?;
        Ok(response.status())
    }

    /// Sends a file inside the request.
    pub async fn upload_inline(
        &self,
        name: &str,
        content_type: &str,
        bytes: &[u8],
    ) -> Result<Answer, Failed> {
        let part = reqwest::multipart::Part::bytes(bytes.to_vec())
            .file_name(name.to_owned())
            .mime_str(content_type)?;
        let form = reqwest::multipart::Form::new().part("file", part);
        self.send(Method::POST, "/v1/files", |request| request.multipart(form)).await
    }

    /// Follows a document until its status is one of these.
    pub async fn wait_for(&self, document: &str, statuses: &[&str]) -> Result<Value, Failed> {
        let mut last = Value::Null;
        for _ in 0..600 {
            last = self.get(&format!("/v1/files/{document}")).await?.expect(200)?;
            if statuses.iter().any(|status| last["status"] == *status) {
                return Ok(last);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("the document never became {statuses:?}: {last}").into())
    }

    /// Uploads and waits until the document is searchable.
    pub async fn ready(&self, name: &str, content_type: &str, bytes: &[u8]) -> Result<String, Failed> {
        let document = self.upload(name, content_type, bytes).await?;
        let last = self.wait_for(&document, &["ready", "failed"]).await?;
        if last["status"] == "ready" { Ok(document) } else { Err(format!("{name} failed: {last}").into()) }
    }

    /// Opens a WebSocket with the token in the query, as a browser must.
    pub async fn socket(&self) -> Result<Socket, Failed> {
        let token = self.token.clone().unwrap_or_default();
        Socket::open(&format!("{}?token={token}", self.websocket_url), &[]).await
    }

    /// Opens a WebSocket with this query and these headers; the error is the HTTP status of the refusal.
    pub async fn open_socket(
        &self,
        query: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Socket, Failed> {
        Socket::open(&format!("{}{query}", self.websocket_url), headers).await
    }
}

/// A JSON string as text.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An open WebSocket.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(url: &str, headers: &[(&'static str, String)]) -> Result<Self, Failed> {
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse()?);
        }
        match connect_async(request).await {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                Err(format!("refused with {}", response.status().as_u16()).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub async fn send(&mut self, frame: &Value) -> Result<(), Failed> {
        self.send_text(frame.to_string()).await
    }

    pub async fn send_text(&mut self, frame: String) -> Result<(), Failed> {
        Ok(self.0.send(Message::text(frame)).await?)
    }

    /// The next frame, within 60 seconds.
    pub async fn next(&mut self) -> Result<Value, Failed> {
        loop {
            let message = tokio::time::timeout(Duration::from_mins(1), self.0.next()).await;
            match message.map_err(|_| "no frame within a minute")?.ok_or("the socket was closed")?? {
                Message::Text(frame) => {
                    if frame.len() > 32 * 1024 {
                        return Err(format!("a frame of {} bytes", frame.len()).into());
                    }
                    return Ok(serde_json::from_str(&frame)?);
                }
                Message::Close(_) => return Err("the socket was closed".into()),
                _ => {}
            }
        }
    }

    /// The next frame of this type, other ones skipped.
    pub async fn next_of(&mut self, kind: &str) -> Result<Value, Failed> {
        loop {
            let frame = self.next().await?;
            if frame["type"] == kind {
                return Ok(frame);
            }
        }
    }

    /// Asks, and collects the frames of the answer up to `end` or `error`.
    pub async fn ask(&mut self, frame: &Value) -> Result<Heard, Failed> {
        self.send(frame).await?;
        self.hear().await
    }

    /// Collects the frames of an answer up to `end` or `error`, and checks that they fit together.
    pub async fn hear(&mut self) -> Result<Heard, Failed> {
        let mut heard = Heard::default();
        loop {
            let frame = self.next().await?;
            match frame["type"].as_str().unwrap_or_default() {
                "start" => heard.start = frame,
                "sources" => heard.sources = frame,
                "delta" => {
                    let offset = frame["offset"].as_u64().ok_or("a delta without an offset")?;
                    if offset != heard.text.chars().count() as u64 {
                        return Err(format!("a delta at {offset} after {:?}", heard.text).into());
                    }
                    heard.text.push_str(&text(&frame["token"]));
                    heard.deltas += 1;
                }
                "end" | "error" => {
                    heard.last = frame;
                    return Ok(heard);
                }
                // Progress of documents comes to the same sockets.
                "document" => {}
                other => return Err(format!("an unknown frame: {other}").into()),
            }
        }
    }

    pub async fn close(mut self) -> Result<(), Failed> {
        Ok(self.0.close(None).await?)
    }
}

/// An answer as a client hears it.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub start: Value,
    pub sources: Value,
    pub text: String,
    pub deltas: usize,
    pub last: Value,
}

impl Heard {
    /// Fails the test unless the answer is whole.
    #[track_caller]
    pub fn whole(self) -> Result<Self, Failed> {
        if self.last["type"] == "end" {
            Ok(self)
        } else {
            Err(format!("the answer ended with {}", self.last).into())
        }
    }
}
