//! The HTTP interface, byte by byte, over a server in this process with the stand-in engine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use docuchat_model_server::{Engine, Fault, FaultKind, FaultRoute, Server, ServerOptions};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn start() -> Server {
    Server::start(Engine::hashing_for_fault_tests(), ServerOptions::default()).await.unwrap()
}

struct Answer {
    status: u16,
    head: String,
    /// The body with chunk framing taken off.
    body: String,
    /// Whether the body ended as its framing announced.
    whole: bool,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The data of all events.
    fn events(&self) -> Vec<&str> {
        self.body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect()
    }
}

async fn open(server: &Server, method: &str, path: &str, body: &str) -> TcpStream {
    let mut connection = TcpStream::connect(server.address()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection.write_all(body.as_bytes()).await.unwrap();
    connection
}

async fn call(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut connection = open(server, method, path, &body).await;
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).await.unwrap();
    read(&String::from_utf8(bytes).unwrap())
}

fn read(text: &str) -> Answer {
    let (head, rest) = text.split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !head.contains("transfer-encoding: chunked") {
        let announced: usize = head
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        return Answer { status, head, body: rest.to_owned(), whole: announced == rest.len() };
    }
    let (mut body, mut rest, mut whole) = (String::new(), rest, false);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole = size == 0;
        body.push_str(&after[..size]);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    Answer { status, head, body, whole }
}

fn chat(stream: bool) -> Value {
    let text = "<source id=\"7\" title=\"Report.pdf\" page=\"3\">\nRain fell all day in the town. The annual revenue was nine \
                million euros.\n</source>\n<question>\nannual revenue was nine million euros\n</question>";
    json!({
        "model": "local-extractive", "stream": stream, "stream_options": {"include_usage": true},
        "messages": [{"role": "system", "content": "Answer from the sources."}, {"role": "user", "content": text}],
    })
}

const ANSWER: &str = "According to the sources: The annual revenue was nine million euros. [7]";

async fn faulty(server: &Server, fault: Fault, path: &str, body: &Value) -> Answer {
    server.set_faults(vec![fault.times(1)]);
    call(server, "POST", path, body).await
}

#[tokio::test]
async fn a_stream_has_pieces_then_the_finish_then_the_usage_then_done() {
    let server = start().await;
    let answer = call(&server, "POST", "/v1/chat/completions", &chat(true)).await;
    assert!(answer.status == 200 && answer.whole && answer.head.contains("content-type: text/event-stream"));
    let events = answer.events();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, ANSWER);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "According ");
    let [.., finish, usage] = chunks.as_slice() else { panic!("too short") };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["choices"], json!([]));
    let counts = &usage["usage"];
    assert_eq!(
        counts["total_tokens"].as_u64().unwrap(),
        counts["prompt_tokens"].as_u64().unwrap() + counts["completion_tokens"].as_u64().unwrap()
    );
    assert!(chunks[1]["usage"].is_null());
    assert_eq!(server.stats().chat.completed, 1);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_can_come_whole_and_be_limited() {
    let server = start().await;
    let answer = call(&server, "POST", "/v1/chat/completions", &chat(false)).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], ANSWER);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let mut limited = chat(false);
    limited["max_tokens"] = json!(8);
    let answer = call(&server, "POST", "/v1/chat/completions", &limited).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert!(ANSWER.starts_with(answer["choices"][0]["message"]["content"].as_str().unwrap()));
}

#[tokio::test]
async fn embeddings_come_as_numbers_or_base64_and_count_what_was_paid() {
    let server = start().await;
    let body = json!({"model": "e5-passage", "input": ["one", "two words"], "dimensions": 384});
    let answer = call(&server, "POST", "/v1/embeddings", &body).await.json();
    assert_eq!(answer["data"][1]["index"], 1);
    let first: Vec<f64> = serde_json::from_value(answer["data"][0]["embedding"].clone()).unwrap();
    assert_eq!(first.len(), 384);
    let body = json!({"model": "e5-passage", "input": "one", "encoding_format": "base64"});
    let answer = call(&server, "POST", "/v1/embeddings", &body).await.json();
    assert_eq!(answer["data"][0]["embedding"].as_str().unwrap().len(), 384 * 4 / 3 * 4);
    let stats = server.stats().embeddings;
    assert_eq!((stats.calls, stats.texts, stats.repeated_passages, stats.completed), (2, 3, 1, 2));
    assert!(stats.prompt_tokens > 0);
    assert_eq!(call(&server, "DELETE", "/_stats", &Value::Null).await.json()["embeddings"]["calls"], 0);
}

#[tokio::test]
async fn bad_requests_are_refused_in_the_usual_shape() {
    let server = start().await;
    let user = json!([{"role": "user", "content": "x"}]);
    let cases = [
        ("/v1/embeddings", json!({"model": "e5-query", "input": []}), 400, Value::Null),
        ("/v1/embeddings", json!({"model": "e5-query", "input": ""}), 400, Value::Null),
        ("/v1/embeddings", json!({"model": "e5-query", "input": "x", "dimensions": 512}), 400, Value::Null),
        (
            "/v1/embeddings",
            json!({"model": "e5-query", "input": "x", "encoding_format": "hex"}),
            400,
            Value::Null,
        ),
        ("/v1/embeddings", json!({"model": "ada", "input": "x"}), 404, json!("model_not_found")),
        ("/v1/embeddings", json!({"input": [1, 2]}), 400, Value::Null),
        ("/v1/chat/completions", json!({"model": "gpt-9", "messages": user}), 404, json!("model_not_found")),
        ("/v1/chat/completions", json!({"model": "local-extractive", "messages": []}), 400, Value::Null),
        (
            "/v1/chat/completions",
            json!({"model": "local-extractive", "messages": [{"role": "user", "content": "word ".repeat(40_000)}]}),
            400,
            json!("context_length_exceeded"),
        ),
        ("/v1/nothing", json!({}), 404, Value::Null),
        ("/v1/embeddings", json!("not an object"), 400, Value::Null),
    ];
    for (path, body, status, code) in cases {
        let answer = call(&server, "POST", path, &body).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (status, &code), "{path} {error}");
        assert!(error["message"].is_string() && error["type"].is_string());
    }
}

#[tokio::test]
async fn models_and_health_answer() {
    let server = start().await;
    let models = call(&server, "GET", "/v1/models", &Value::Null).await.json();
    let names: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["e5-query", "e5-passage", "local-extractive"]);
    assert_eq!(call(&server, "GET", "/healthz", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn early_faults_on_both_routes() {
    let server = start().await;
    let routes = [
        (FaultRoute::Embeddings, "/v1/embeddings", json!({"model": "e5-query", "input": "x"})),
        (FaultRoute::Chat, "/v1/chat/completions", chat(true)),
    ];
    for (route, path, body) in routes {
        let limited = Fault { retry_after_seconds: Some(3), ..Fault::new(route, FaultKind::RateLimited) };
        let answer = faulty(&server, limited, path, &body).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (429, Some("rate_limit_exceeded"))
        );
        assert!(answer.head.contains("retry-after: 3"), "{}", answer.head);
        let answer = faulty(&server, Fault::new(route, FaultKind::Error500), path, &body).await;
        assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (500, Some("server_error")));
        let html = Fault { status: Some(429), ..Fault::new(route, FaultKind::HtmlBody) };
        let answer = faulty(&server, html, path, &body).await;
        assert!(answer.status == 429 && answer.body.starts_with("<html>"));
        // Used up: the next call is well.
        assert_eq!(call(&server, "POST", path, &body).await.status, 200);
    }
    assert_eq!(server.stats().chat.faults, 3);
}

#[tokio::test]
async fn a_stream_that_fails_in_the_middle() {
    let server = start().await;
    let path = "/v1/chat/completions";
    let on = |kind| Fault::new(FaultRoute::Chat, kind).after_tokens(3);
    let answer = faulty(&server, on(FaultKind::Cut), path, &chat(true)).await;
    assert!(answer.whole, "a cut is clean");
    assert_eq!(answer.events().len(), 1 + 3);
    assert!(!answer.body.contains("\"stop\"") && !answer.body.contains("DONE"));
    let answer = faulty(&server, on(FaultKind::ErrorEvent), path, &chat(true)).await;
    let last: Value = serde_json::from_str(answer.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["type"], "server_error");
    let answer = faulty(&server, on(FaultKind::Garbage), path, &chat(true)).await;
    assert!(serde_json::from_str::<Value>(answer.events().last().unwrap()).is_err());
    let beyond = Fault::new(FaultRoute::Chat, FaultKind::Cut).after_tokens(1000);
    let answer = faulty(&server, beyond, path, &chat(true)).await;
    assert!(answer.body.contains("[7]") && !answer.body.contains("\"stop\""));
}

#[tokio::test]
async fn answers_that_do_not_stream_break_off_or_are_no_json() {
    let server = start().await;
    let body = json!({"model": "e5-query", "input": "x"});
    let on = |kind| Fault::new(FaultRoute::Embeddings, kind);
    let answer = faulty(&server, on(FaultKind::Cut), "/v1/embeddings", &body).await;
    assert!(answer.status == 200 && !answer.whole);
    let answer = faulty(&server, on(FaultKind::Garbage), "/v1/embeddings", &body).await;
    assert!(answer.status == 200 && serde_json::from_str::<Value>(&answer.body).is_err());
}

#[tokio::test]
async fn slow_and_stalled_answers() {
    let server = start().await;
    let slow = Fault { delay_ms: Some(300), ..Fault::new(FaultRoute::Embeddings, FaultKind::Slow) };
    let started = std::time::Instant::now();
    let answer = faulty(&server, slow, "/v1/embeddings", &json!({"model": "e5-query", "input": "x"})).await;
    assert!(answer.status == 200 && started.elapsed() >= Duration::from_millis(300));

    server.set_faults(vec![Fault::new(FaultRoute::Chat, FaultKind::Stall).after_tokens(2)]);
    let mut connection = open(&server, "POST", "/v1/chat/completions", &chat(true).to_string()).await;
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains("to ") {
        let count = connection.read(&mut buffer).await.unwrap();
        seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    let more = tokio::time::timeout(Duration::from_millis(300), connection.read(&mut buffer)).await;
    assert!(more.is_err(), "something came after the stall");
    assert_eq!(server.stats().chat.in_flight, 1);
    // The client leaves: the work ends at once.
    drop(connection);
    for _ in 0..100 {
        if server.stats().chat.in_flight == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.stats().chat.in_flight, 0);
}

#[tokio::test]
async fn a_stalled_answer_does_not_keep_the_server_from_stopping() {
    let server = start().await;
    server.set_faults(vec![Fault::new(FaultRoute::Embeddings, FaultKind::Stall)]);
    let body = json!({"model": "e5-query", "input": "x"}).to_string();
    let _connection = open(&server, "POST", "/v1/embeddings", &body).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::timeout(Duration::from_secs(3), server.stop()).await.unwrap();
}

#[tokio::test]
async fn faults_are_set_and_ended_over_http() {
    let server = start().await;
    let fault = json!({"route": "embeddings", "kind": "rate_limited", "times": 2, "retry_after_seconds": 1});
    let set = call(&server, "PUT", "/_faults", &fault).await;
    assert_eq!((set.status, set.json()["faults"].as_array().unwrap().len()), (200, 1));
    let body = json!({"model": "e5-query", "input": "x"});
    assert_eq!(call(&server, "POST", "/v1/embeddings", &body).await.status, 429);
    call(&server, "DELETE", "/_faults", &Value::Null).await;
    assert_eq!(call(&server, "POST", "/v1/embeddings", &body).await.status, 200);
    assert_eq!(
        call(&server, "PUT", "/_faults", &json!({"route": "chat", "kind": "flood"})).await.status,
        400
    );
}
