//! An outside client: it knows the public REST and WebSocket URLs and nothing of what is behind them.

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest as _, protocol::CloseFrame},
};
use uuid::Uuid;

use crate::{
    error::{Context, Problem, Result},
    mailbox::Mail,
    running::Running,
    tenant::DEMO_TENANT,
};

/// A person's program: base URLs, a tenant, and a token once signed in.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    rest_url: String,
    websocket_url: String,
    tenant: Option<String>,
    token: Option<String>,
}

/// An answer of the REST API.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as JSON; a text that is not JSON is a JSON string; none is null.
    pub body: Value,
}

impl Reply {
    /// The stable code of a problem document.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body.get("code").and_then(Value::as_str).unwrap_or_default()
    }

    /// Fails unless the status is a success, quoting the problem.
    pub fn ok(self, what: &str) -> Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        let detail = self
            .body
            .get("detail")
            .and_then(Value::as_str)
            .map_or_else(|| self.body.to_string(), str::to_owned);
        Err(Problem::new(format!("{what} failed with {} {}: {detail}", self.status.as_u16(), self.code())))
    }

    fn read<T: for<'de> Deserialize<'de>>(self, what: &str) -> Result<T> {
        serde_json::from_value(self.body).context(|| format!("{what} answered something else than it should"))
    }
}

/// Where and how to upload a file that was announced.
#[derive(Clone, Debug, Deserialize)]
pub struct Upload {
    /// Address of the POST.
    pub url: String,
    /// Form fields that come before the file.
    pub fields: serde_json::Map<String, Value>,
}

/// The answer to the announcement of a file.
#[derive(Clone, Debug, Deserialize)]
pub struct Announced {
    /// The document.
    pub document_id: Uuid,
    /// Its status: `awaiting_upload`.
    pub status: String,
    /// Where the file goes.
    pub upload: Upload,
}

/// What a question brought.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// All frames, in order.
    pub frames: Vec<Value>,
    /// The text, put together from the deltas.
    pub text: String,
    /// Session of the `start` frame.
    pub session_id: String,
    /// Answer of the `start` frame.
    pub answer_id: String,
    /// Citations of the `end` frame.
    pub citations: Vec<Value>,
    /// Usage of the `end` frame.
    pub usage: Value,
    /// The `error` frame that ended it, if one did.
    pub error: Option<Value>,
}

impl Client {
    /// A client of these base URLs that names a tenant.
    pub fn new(rest_url: &str, websocket_url: &str, tenant: Uuid) -> Result<Self> {
        Ok(Self {
            http: crate::http::client()?,
            rest_url: rest_url.trim_end_matches('/').to_owned(),
            websocket_url: websocket_url.to_owned(),
            tenant: Some(tenant.to_string()),
            token: None,
        })
    }

    /// A client of a running stack, in its demo tenant, through the front door.
    pub fn of(running: &Running) -> Result<Self> {
        Self::new(&running.rest_url, &running.websocket_url, DEMO_TENANT)
    }

    /// The same client in another tenant; the token stays, for tests of what must then happen.
    #[must_use]
    pub fn in_tenant(&self, tenant: Uuid) -> Self {
        Self { tenant: Some(tenant.to_string()), ..self.clone() }
    }

    /// The same client without the tenant header.
    #[must_use]
    pub fn without_tenant(&self) -> Self {
        Self { tenant: None, ..self.clone() }
    }

    /// The same client with another token, or none.
    #[must_use]
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// The token, once signed in.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    // --- REST --------------------------------------------------------------------------------------------------

    /// A request with the client's headers, for what has no method of its own here.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request =
            self.http.request(method, format!("{}{path}", self.rest_url)).timeout(Duration::from_mins(1));
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Tenant-ID", tenant);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request
    }

    /// Sends a request and reads its answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply> {
        let failed = || format!("{} does not answer", self.rest_url);
        let answer = request.send().await.context(failed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.context(failed)?;
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Ok(Reply { status, headers, body })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Asks for a sign-in code.
    pub async fn request_code(&self, email: &str) -> Result<Reply> {
        self.post("/v1/auth/request-code", &json!({"email": email})).await
    }

    /// Exchanges a code for a token.
    pub async fn verify_code(&self, email: &str, code: &str) -> Result<Reply> {
        self.post("/v1/auth/verify-code", &json!({"email": email, "code": code})).await
    }

    /// The mails to an address, newest first.
    pub async fn mails(&self, email: &str) -> Result<Vec<Mail>> {
        let request =
            self.http.get(format!("{}/_local/mail.json", self.rest_url)).timeout(Duration::from_secs(10));
        let mails: Vec<Mail> = self.send(request).await?.ok("Reading the mailbox")?.read("The mailbox")?;
        Ok(mails.into_iter().filter(|mail| mail.to.iter().any(|to| to.eq_ignore_ascii_case(email))).collect())
    }

    /// Asks for a code and waits for its mail.
    pub async fn mailed_code(&self, email: &str) -> Result<String> {
        let before = self.mails(email).await?.len();
        self.request_code(email).await?.ok("Asking for a code")?;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(15) {
            let mails = self.mails(email).await?;
            if mails.len() > before {
                return mails
                    .first()
                    .and_then(|mail| code_in(&mail.text))
                    .ok_or_else(|| Problem::new("The mail holds no code of six digits"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(Problem::new(format!("No mail with a code came to {email}")))
    }

    /// The whole sign-in: code, mail, token.
    pub async fn sign_in(&self, email: &str) -> Result<Self> {
        let code = self.mailed_code(email).await?;
        let reply = self.verify_code(email, &code).await?.ok("Signing in")?;
        let token = reply.body.get("access_token").and_then(Value::as_str);
        let token = token.ok_or_else(|| Problem::new("Signing in brought no token"))?;
        Ok(self.with_token(Some(token)))
    }

    /// Announces a file: `POST /v1/files` with JSON.
    pub async fn create_file(&self, filename: &str, size: usize, content_type: &str) -> Result<Announced> {
        let body = json!({"filename": filename, "size": size, "content_type": content_type});
        self.post("/v1/files", &body).await?.ok("Announcing the file")?.read("POST /v1/files")
    }

    /// Uploads an announced file by the presigned form; the object store's status.
    pub async fn upload(&self, upload: &Upload, filename: &str, bytes: Vec<u8>) -> Result<StatusCode> {
        let mut form = reqwest::multipart::Form::new();
        for (name, value) in &upload.fields {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            form = form.text(name.clone(), value);
        }
        // The file comes last: S3 ignores every field after it.
        form = form.part("file", reqwest::multipart::Part::bytes(bytes).file_name(filename.to_owned()));
        let request = self.http.post(&upload.url).multipart(form).timeout(Duration::from_mins(5));
        Ok(request.send().await.context(|| "The object store does not answer")?.status())
    }

    /// `POST /v1/files` as a form with the file itself (up to 4 MB).
    pub async fn post_file(&self, filename: &str, content_type: &str, bytes: Vec<u8>) -> Result<Reply> {
        let part = reqwest::multipart::Part::bytes(bytes)
            .file_name(filename.to_owned())
            .mime_str(content_type)
            .context(|| "The content type cannot be sent")?;
        let form = reqwest::multipart::Form::new().part("file", part);
        self.send(self.request(Method::POST, "/v1/files").multipart(form)).await
    }

    /// Announces and uploads a file.
    pub async fn put_file(&self, filename: &str, content_type: &str, bytes: Vec<u8>) -> Result<Uuid> {
        let announced = self.create_file(filename, bytes.len(), content_type).await?;
        let status = self.upload(&announced.upload, filename, bytes).await?;
        if status.is_success() {
            Ok(announced.document_id)
        } else {
            Err(Problem::new(format!("The object store refused the file with {status}")))
        }
    }

    /// The document as `GET /v1/files/{id}` shows it.
    pub async fn document(&self, id: Uuid) -> Result<Value> {
        Ok(self.get(&format!("/v1/files/{id}")).await?.ok("Reading the document")?.body)
    }

    /// Follows a document until it is `ready` or `failed`; `seen` gets every state that was read.
    pub async fn follow(&self, id: Uuid, limit: Duration, mut seen: impl FnMut(&Value)) -> Result<Value> {
        let started = Instant::now();
        loop {
            let document = self.document(id).await?;
            seen(&document);
            match document.get("status").and_then(Value::as_str) {
                Some("ready" | "failed") => return Ok(document),
                _ if started.elapsed() > limit => {
                    return Err(Problem::new(format!(
                        "The document was not ready after {} s: {document}",
                        limit.as_secs()
                    )));
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Follows a document until it is `ready`; a failed one is a failure.
    pub async fn wait_ready(&self, id: Uuid, limit: Duration) -> Result<Value> {
        let document = self.follow(id, limit, |_| ()).await?;
        if document.get("status").and_then(Value::as_str) == Some("ready") {
            return Ok(document);
        }
        let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(Problem::new(format!("The document failed ({}): {}", text("error_code"), text("error_message"))))
    }

    // --- WebSocket ---------------------------------------------------------------------------------------------

    /// Opens the WebSocket with the token in the query, as a browser must.
    pub async fn connect(&self) -> Result<Socket> {
        let token = self.token.as_deref().unwrap_or_default();
        Socket::open(&format!("{}?token={token}", self.websocket_url), &HeaderMap::new())
            .await
            .context(|| "The WebSocket was refused")
    }

    /// Opens the WebSocket with these headers and no query; the status when it is refused.
    pub async fn connect_with(&self, headers: &HeaderMap) -> Result<Socket, tungstenite::Error> {
        Socket::open(&self.websocket_url, headers).await
    }

    /// One question over a socket of its own.
    pub async fn ask(&self, question: &str) -> Result<Answer> {
        let mut socket = self.connect().await?;
        let answer = socket.ask(&json!({"message": question}), |_| ()).await;
        socket.close().await;
        answer
    }
}

/// The first run of exactly six ASCII digits.
fn code_in(text: &str) -> Option<String> {
    text.split(|letter: char| !letter.is_ascii_digit()).find(|run| run.len() == 6).map(str::to_owned)
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Opens a URL.
    pub async fn open(url: &str, headers: &HeaderMap) -> Result<Self, tungstenite::Error> {
        let mut request = url.into_client_request()?;
        request.headers_mut().extend(headers.clone());
        let (stream, _) = tokio_tungstenite::connect_async(request).await?;
        Ok(Self { stream })
    }

    /// Sends a text frame as it is.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        self.stream.send(Message::text(text)).await.context(|| "The WebSocket is closed")
    }

    /// Sends JSON.
    pub async fn send(&mut self, value: &Value) -> Result<()> {
        self.send_text(&value.to_string()).await
    }

    /// The next text frame; none when the other side closed. Pings are answered on the way.
    pub async fn next(&mut self, limit: Duration) -> Result<Option<Value>> {
        let wait = async {
            while let Some(message) = self.stream.next().await {
                match message.context(|| "The WebSocket broke off")? {
                    Message::Text(text) => {
                        return serde_json::from_str(text.as_str())
                            .map(Some)
                            .context(|| format!("A frame is not JSON: {text}"));
                    }
                    Message::Close(_) => return Ok(None),
                    _ => {}
                }
            }
            Ok(None)
        };
        tokio::time::timeout(limit, wait)
            .await
            .unwrap_or_else(|_| Err(Problem::new(format!("No frame came within {} s", limit.as_secs()))))
    }

    /// Sends a question and reads until its `end` or `error` frame. `seen` gets every frame as it arrives.
    pub async fn ask(&mut self, question: &Value, mut seen: impl FnMut(&Value)) -> Result<Answer> {
        self.send(question).await?;
        let mut answer = Answer::default();
        loop {
            let Some(frame) = self.next(Duration::from_mins(2)).await? else {
                return Err(Problem::new("The WebSocket was closed before the answer ended"));
            };
            seen(&frame);
            let text = |name: &str| frame.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            match frame.get("type").and_then(Value::as_str) {
                Some("start") => {
                    answer.session_id = text("session_id");
                    answer.answer_id = text("answer_id");
                }
                Some("delta") => answer.text.push_str(&text("token")),
                Some("end") => {
                    answer.citations =
                        frame.get("citations").and_then(Value::as_array).cloned().unwrap_or_default();
                    answer.usage = frame.get("usage").cloned().unwrap_or_default();
                    answer.frames.push(frame);
                    return Ok(answer);
                }
                Some("error") => {
                    answer.error = Some(frame.clone());
                    answer.frames.push(frame);
                    return Ok(answer);
                }
                _ => {}
            }
            answer.frames.push(frame);
        }
    }

    /// Closes it in order.
    pub async fn close(mut self) {
        let normal =
            CloseFrame { code: tungstenite::protocol::frame::coding::CloseCode::Normal, reason: "".into() };
        // The other side may be gone already, which is what was wanted.
        let _closed = self.stream.close(Some(normal)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_found_between_other_numbers() {
        assert_eq!(code_in("Your code is 123456. It is valid for 10 minutes.").as_deref(), Some("123456"));
        assert_eq!(code_in("کد شما: 042042 (۱۰ دقیقه)").as_deref(), Some("042042"));
        assert_eq!(code_in("1234567 12345"), None);
    }

    #[test]
    fn a_problem_is_quoted() {
        let reply = Reply {
            status: StatusCode::CONFLICT,
            headers: HeaderMap::new(),
            body: json!({"code": "in_use", "detail": "It is in use."}),
        };
        let text = reply.ok("Deleting").unwrap_err().to_string();
        assert_eq!(text, "Deleting failed with 409 in_use: It is in use.");
    }
}
