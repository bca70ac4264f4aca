//! One local origin for the REST API, the WebSocket API and the mailbox.
//!
//! Requests and answers pass through as streams; a WebSocket is tunnelled after its handshake, so that pings, closes
//! and fragments arrive as they were sent.

use std::{net::Ipv4Addr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
    routing::{any, get},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::{
    error::{Context, Problem, Result},
    mailbox,
    running::Running,
};

/// API and stage of an address that API Gateway, or the emulator, gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    id: String,
    stage: String,
}

impl Address {
    /// Reads `https://{id}.execute-api.{region}.amazonaws.com/{stage}` and
    /// `http://{host}/_aws/execute-api/{id}/{stage}`, with any scheme.
    pub(crate) fn of(url: &str) -> Result<Self> {
        let parse = || {
            let (_, rest) = url.split_once("://")?;
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let mut parts =
                path.trim_start_matches("_aws/execute-api/").split('/').filter(|part| !part.is_empty());
            let id = match host.split_once(".execute-api.") {
                Some((id, _)) => id,
                None => parts.next()?,
            };
            Some(Self { id: id.to_owned(), stage: parts.next().unwrap_or("$default").to_owned() })
        };
        parse().ok_or_else(|| {
            Problem::new(format!("template.yaml has an API address that cannot be read: \"{url}\""))
        })
    }

    /// The path under which the emulator serves it.
    pub(crate) fn path(&self) -> String {
        format!("/_aws/execute-api/{}/{}", self.id, self.stage)
    }
}

/// What is behind the door.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// Port of the emulator.
    pub emulator_port: u16,
    /// Path of the REST API there.
    pub rest: String,
    /// Path of the WebSocket API there.
    pub websocket: String,
    /// Origins that browsers may call from; `*` at the end stands for any port.
    pub cors_origins: Vec<String>,
    /// For the index page.
    pub running: Running,
}

/// The open door.
#[derive(Debug)]
pub(crate) struct FrontDoor {
    close: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FrontDoor {
    /// Opens it on 127.0.0.1. It runs on a thread and runtime of its own: a test's runtime may end before the stack.
    pub(crate) async fn open(port: u16, upstream: Upstream) -> Result<Self> {
        let failed = || format!("Could not open the front door on port {port}");
        let (close, closed) = oneshot::channel::<()>();
        let (opened, open) = oneshot::channel::<std::io::Result<()>>();
        let thread = std::thread::Builder::new()
            .name("front-door".to_owned())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _caller_gone = opened.send(Err(error));
                        return;
                    }
                };
                runtime.block_on(async {
                    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                        Ok(listener) => {
                            let _caller_gone = opened.send(Ok(()));
                            tokio::select! {
                                result = async { axum::serve(listener, router(upstream)).await } => {
                                    if let Err(error) = result {
                                        eprintln!("The front door closed: {error}");
                                    }
                                }
                                _ = closed => {}
                            }
                        }
                        Err(error) => {
                            let _caller_gone = opened.send(Err(error));
                        }
                    }
                });
                // Open tunnels and streams end here: the stack is about to stop.
                runtime.shutdown_background();
            })
            .context(failed)?;
        match open.await {
            Ok(Ok(())) => Ok(Self { close: Some(close), thread: Some(thread) }),
            Ok(Err(error)) => Err(Problem::caused(failed(), &error)),
            Err(_) => Err(Problem::new(failed())),
        }
    }

    /// Closes it.
    pub(crate) async fn stop(&mut self) {
        drop(self.close.take());
        if let Some(thread) = self.thread.take() {
            let _ended = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn router(upstream: Upstream) -> Router {
    Router::new()
        .route("/_local", get(index))
        .route("/_local/", get(index))
        .route("/_local/mail", get(mail))
        .route("/_local/mail.json", get(mail_json))
        .route("/ws/chat", any(websocket))
        .fallback(rest)
        .with_state(Arc::new(upstream))
}

type Door = State<Arc<Upstream>>;

async fn rest(State(door): Door, request: Request) -> Response {
    let origin = allowed_origin(&door.cors_origins, request.headers());
    if let Some(answer) = preflight(&request, origin.as_ref()) {
        return answer;
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let target = format!("{}{path}", door.rest);
    let mut response = pass(door.emulator_port, &target, request).await;
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("X-Request-ID, Retry-After"),
            );
        }
    }
    response
}

async fn websocket(State(door): Door, request: Request) -> Response {
    let query = request.uri().query().map_or(String::new(), |query| format!("?{query}"));
    pass(door.emulator_port, &format!("{}{query}", door.websocket), request).await
}

/// Sends a request to the emulator and streams its answer back; an upgraded connection becomes a tunnel.
async fn pass(port: u16, target: &str, request: Request) -> Response {
    match try_pass(port, target, request).await {
        Ok(response) => response,
        Err(problem) => {
            let body = serde_json::json!({
                "type": "about:blank",
                "title": "Bad gateway",
                "status": 502,
                "code": "local_emulator_unavailable",
                "detail": problem.to_string(),
            });
            let json = [(header::CONTENT_TYPE, "application/problem+json")];
            (StatusCode::BAD_GATEWAY, json, body.to_string()).into_response()
        }
    }
}

async fn try_pass(port: u16, target: &str, mut request: Request) -> Result<Response> {
    let failed = || "The AWS emulator does not answer";
    *request.uri_mut() = target.parse::<Uri>().context(|| "The address cannot be passed on")?;
    let host = HeaderValue::from_str(&format!("127.0.0.1:{port}")).context(failed)?;
    request.headers_mut().insert(header::HOST, host);
    let upgrade = request.headers().contains_key(header::UPGRADE);
    if !upgrade {
        remove_hop_by_hop(request.headers_mut());
    }
    let client_side = upgrade.then(|| hyper::upgrade::on(&mut request));

    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.context(failed)?;
    // A frame is a small write: it must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true).context(failed)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context(failed)?;
    tokio::spawn(connection.with_upgrades());
    let mut response = sender.send_request(request).await.context(failed)?;

    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(client_side) = client_side {
            let emulator_side = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                if let (Ok(client), Ok(emulator)) = tokio::join!(client_side, emulator_side) {
                    // Either side may break off; the other then sees the end of its connection.
                    let _ended =
                        tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(emulator))
                            .await;
                }
            });
        }
    } else {
        remove_hop_by_hop(response.headers_mut());
    }
    Ok(response.map(Body::new))
}

/// RFC 9110, section 7.6.1.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE]
    {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// The request's origin, when it may call.
fn allowed_origin(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let text = origin.to_str().ok()?;
    origins.iter().any(|pattern| matches_origin(pattern, text)).then(|| origin.clone())
}

fn matches_origin(pattern: &str, origin: &str) -> bool {
    match pattern.strip_suffix(":*") {
        Some(start) => {
            origin == start
                || origin
                    .strip_prefix(start)
                    .and_then(|rest| rest.strip_prefix(':'))
                    .is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
        }
        None => pattern == "*" || pattern == origin,
    }
}

/// Answers a CORS preflight, which the emulator answers without headers.
fn preflight(request: &Request, origin: Option<&HeaderValue>) -> Option<Response> {
    const ASKS: HeaderName = header::ACCESS_CONTROL_REQUEST_METHOD;
    if request.method() != Method::OPTIONS || !request.headers().contains_key(ASKS) {
        return None;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        );
        let wanted = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let wanted = wanted.unwrap_or(HeaderValue::from_static("authorization, content-type, x-tenant-id"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    Some(response)
}

async fn index(State(door): Door) -> Html<String> {
    let running = &door.running;
    let rows = [
        ("REST API", &running.rest_url),
        ("WebSocket API", &running.websocket_url),
        ("Mailbox", &running.mailbox_url),
        ("REST API, as the emulator serves it", &running.emulator_rest_url),
        ("WebSocket API, as the emulator serves it", &running.emulator_websocket_url),
        ("AWS endpoint", &running.emulator_url),
        ("Models", &running.models_url),
    ];
    let rows = rows
        .iter()
        .map(|(name, url)| {
            let url = mailbox::escape(url);
            format!("<tr><th>{name}</th><td><a href=\"{url}\">{url}</a></td></tr>\n")
        })
        .collect::<Vec<_>>()
        .concat();
    Html(mailbox::page(
        "DocuChat on this machine",
        &format!(
            "<table>\n{rows}<tr><th>Demo tenant</th><td><code>{}</code></td></tr>\n<tr><th>Logs</th><td><code>{}</code></td></tr>\n</table>",
            crate::tenant::DEMO_TENANT,
            mailbox::escape(&running.logs.to_string_lossy())
        ),
    ))
}

async fn mail(state: Door, headers: HeaderMap) -> Response {
    let json = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json") && !accept.contains("text/html"));
    if json {
        return mail_json(state).await;
    }
    match mailbox::fetch(&state.running.emulator_url).await {
        Ok(mails) => Html(mailbox::html(&mails)).into_response(),
        Err(problem) => (StatusCode::BAD_GATEWAY, problem.to_string()).into_response(),
    }
}

async fn mail_json(State(door): Door) -> Response {
    match mailbox::fetch(&door.running.emulator_url).await {
        Ok(mails) => axum::Json(mails).into_response(),
        Err(problem) => (StatusCode::BAD_GATEWAY, problem.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address_are_read() {
        let expected = Address { id: "abc123".into(), stage: "local".into() };
        for url in [
            "https://abc123.execute-api.us-east-1.amazonaws.com/local",
            "http://127.0.0.1:4566/_aws/execute-api/abc123/local/",
            "ws://127.0.0.1:4566/_aws/execute-api/abc123/local",
        ] {
            assert_eq!(Address::of(url).unwrap(), expected, "{url}");
        }
        assert_eq!(expected.path(), "/_aws/execute-api/abc123/local");
        assert!(Address::of("").is_err());
    }

    #[test]
    fn any_port_of_this_machine_may_call_and_nobody_else() {
        let pattern = "http://localhost:*";
        assert!(matches_origin(pattern, "http://localhost:5173"));
        assert!(matches_origin(pattern, "http://localhost"));
        assert!(!matches_origin(pattern, "http://localhost.example"));
        assert!(!matches_origin(pattern, "http://localhost:80.example"));
        assert!(!matches_origin(pattern, "https://localhost:5173"));
        assert!(matches_origin("https://app.example", "https://app.example"));
    }

    fn asks(origin: &str) -> Request {
        Request::builder()
            .method(Method::OPTIONS)
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "x-tenant-id")
            .body(Body::empty())
            .unwrap()
    }

    #[test]
    fn a_preflight_is_answered_for_allowed_origins_only() {
        let origins = vec!["http://localhost:*".to_owned()];
        let request = asks("http://localhost:3000");
        let origin = allowed_origin(&origins, request.headers());
        let answer = preflight(&request, origin.as_ref()).unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:3000");
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS], "x-tenant-id");

        let request = asks("http://evil.example");
        let origin = allowed_origin(&origins, request.headers());
        let answer = preflight(&request, origin.as_ref()).unwrap();
        assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[test]
    fn headers_of_one_connection_stay_on_it() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 1);
    }

    /// An upstream that shows what reached it, streams, and echoes frames.
    async fn upstream() -> u16 {
        use axum::extract::ws::{Message, WebSocketUpgrade};
        use futures_util::StreamExt as _;
        async fn echo(uri: Uri, upgrade: WebSocketUpgrade) -> Response {
            upgrade.on_upgrade(|mut socket| async move {
                let path = uri.to_string();
                socket.send(Message::Text(path.into())).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Text(_) | Message::Binary(_) = message {
                        socket.send(message).await.unwrap();
                    }
                }
            })
        }
        async fn show(request: Request) -> Response {
            let first = format!("{} {}", request.method(), request.uri());
            let rest = request.into_body().into_data_stream();
            let first = futures_util::stream::once(async move { Ok(bytes::Bytes::from(first)) });
            Body::from_stream(first.chain(rest)).into_response()
        }
        let router = Router::new().route("/ws/stage", any(echo)).fallback(show);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    async fn door() -> (FrontDoor, String) {
        let ports = crate::Ports::free().unwrap();
        let running = serde_json::json!({
            "process": 1, "children": [], "rest_url": "", "websocket_url": "", "mailbox_url": "",
            "emulator_rest_url": "", "emulator_websocket_url": "", "emulator_url": "", "models_url": "",
            "database_admin_url": "", "logs": "", "outputs": {}, "resources": {},
        });
        let upstream = Upstream {
            emulator_port: upstream().await,
            rest: "/api/stage".to_owned(),
            websocket: "/ws/stage".to_owned(),
            cors_origins: vec!["http://localhost:*".to_owned()],
            running: serde_json::from_value(running).unwrap(),
        };
        let door = FrontDoor::open(ports.front_door, upstream).await.unwrap();
        (door, format!("127.0.0.1:{}", ports.front_door))
    }

    #[tokio::test]
    async fn requests_pass_with_their_query_and_body() {
        let (mut door, place) = door().await;
        let http = crate::http::client().unwrap();
        let answer = http
            .put(format!("http://{place}/v1/files?a=%20b"))
            .header(header::ORIGIN, "http://localhost:3000")
            .body("x".repeat(200_000))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://localhost:3000");
        let text = answer.text().await.unwrap();
        assert!(text.starts_with("PUT /api/stage/v1/files?a=%20bx"), "{}", &text[..60]);
        assert_eq!(text.len(), "PUT /api/stage/v1/files?a=%20b".len() + 200_000);
        door.stop().await;
    }

    #[tokio::test]
    async fn frames_pings_and_the_query_pass_both_ways() {
        use futures_util::{SinkExt as _, StreamExt as _};
        use tokio_tungstenite::tungstenite::Message;
        let (mut door, place) = door().await;
        let url = format!("ws://{place}/ws/chat?token=a.b.c");
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("/ws/stage?token=a.b.c"));
        socket.send(Message::Ping(bytes::Bytes::from_static(b"p"))).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(bytes::Bytes::from_static(b"p")));
        socket.send(Message::text("سلام")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("سلام"));
        socket.close(None).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_))) | None));
        door.stop().await;
    }

    #[tokio::test]
    async fn a_closed_emulator_is_a_502_with_a_problem() {
        let ports = crate::Ports::free().unwrap();
        let answer = pass(ports.emulator, "/x", Request::new(Body::empty())).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
