//! Functions behind the REST API.

use crate::{env::Env, invoke::Invocation, logs, problem::Problem};
use docuchat_domain::{Error, Kind, Result, limits};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use lambda_http::{Body, Request, RequestExt, request::RequestContext};
use serde::{Serialize, de::DeserializeOwned};
use std::{convert::Infallible, future::Future, str::FromStr, sync::Arc};

/// What the edge of every route needs to know.
#[derive(Debug, Clone)]
pub struct Edge {
    /// The name of the tenant header.
    pub tenant_header: HeaderName,
    origins: Arc<[String]>,
}

impl Edge {
    /// From `TENANT_HEADER` and `CORS_ORIGINS` (`*` lets every origin in: no cookie is ever used, so a foreign page gains
    /// nothing without a token).
    pub fn from_env(env: &Env) -> Result<Self, crate::env::SettingError> {
        Ok(Self {
            tenant_header: env.parsed(
                "TENANT_HEADER",
                HeaderName::from_static("x-tenant-id"),
                "a header name",
            )?,
            origins: env.list("CORS_ORIGINS").into(),
        })
    }
}

/// One request.
#[derive(Debug)]
pub struct Call {
    /// The invocation.
    pub invocation: Invocation,
    /// The method.
    pub method: Method,
    /// The route as the template has it, for instance `/v1/files/{document_id}`.
    pub route: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decoded from base64 where the gateway encoded it.
    pub body: Vec<u8>,
    /// The address that API Gateway saw: not what the client claims in `X-Forwarded-For`.
    pub source_ip: Option<String>,
    /// The name of the tenant header.
    pub tenant_header: HeaderName,
    path: aws_lambda_events::query_map::QueryMap,
    query: aws_lambda_events::query_map::QueryMap,
}

impl Call {
    fn of(request: Request, edge: &Edge) -> Self {
        let invocation = Invocation::of(&request.lambda_context());
        let (route, source_ip) = match request.request_context_ref() {
            Some(RequestContext::ApiGatewayV1(context)) => {
                (context.resource_path.clone().unwrap_or_default(), context.identity.source_ip.clone())
            }
            _ => (String::new(), None),
        };
        let (path, query) = (request.path_parameters(), request.query_string_parameters());
        let (parts, body) = request.into_parts();
        let body = match body {
            Body::Text(text) => text.into_bytes(),
            Body::Binary(bytes) => bytes,
            _ => Vec::new(),
        };
        Self {
            invocation,
            method: parts.method,
            route,
            headers: parts.headers,
            body,
            source_ip,
            tenant_header: edge.tenant_header.clone(),
            path,
            query,
        }
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The media type of the body in lower case, without parameters.
    #[must_use]
    pub fn media_type(&self) -> String {
        let value = self.header(header::CONTENT_TYPE).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// An id in the path. One that is not even an id is answered like one that is not there.
    pub fn path_id<T: FromStr>(&self, name: &str, not_found_code: &'static str, what: &str) -> Result<T> {
        let text = self.path.first(name).unwrap_or_default();
        text.parse().map_err(|_| Error::not_found(not_found_code, what))
    }

    /// A query parameter.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.first(name).filter(|value| !value.is_empty())
    }

    /// `limit` of a list: 1 to [`limits::MAX_PAGE_SIZE`], default [`limits::DEFAULT_PAGE_SIZE`].
    pub fn limit(&self) -> Result<u32> {
        let Some(text) = self.query("limit") else { return Ok(limits::DEFAULT_PAGE_SIZE) };
        text.parse().ok().filter(|n| (1..=limits::MAX_PAGE_SIZE).contains(n)).ok_or_else(|| {
            Error::invalid("invalid_limit", format!("limit is a number from 1 to {}.", limits::MAX_PAGE_SIZE))
                .with_path("limit")
        })
    }

    /// The JSON body. The error names the field that is wrong.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        if self.body.len() > limits::MAX_JSON_BYTES {
            return Err(Error::new(
                Kind::TooLarge,
                "body_too_large",
                "The body is larger than this route takes.",
            ));
        }
        let media_type = self.media_type();
        if media_type != "application/json" && !media_type.ends_with("+json") {
            let detail = "This route takes application/json; set the Content-Type header.";
            return Err(Error::new(Kind::Unsupported, "unsupported_media_type", detail));
        }
        let text = std::str::from_utf8(&self.body)
            .map_err(|_| Error::invalid("malformed_json", "The body is not UTF-8."))?;
        // A derived reader would take an array of the fields in their order as well.
        if text.trim_start().starts_with('[') {
            return Err(Error::invalid("invalid_field", "The body must be a JSON object.").with_path("."));
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let value: T = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let inner = error.into_inner();
            let (code, detail) = match inner.classify() {
                serde_json::error::Category::Data => (
                    "invalid_field",
                    format!("The body does not fit: {}.", in_plain_words(&inner.to_string())),
                ),
                _ => ("malformed_json", format!("The body is not JSON: {inner}.")),
            };
            Error::invalid(code, detail).with_path(path)
        })?;
        reader
            .end()
            .map_err(|e| Error::invalid("malformed_json", format!("The body is not one JSON value: {e}.")))?;
        Ok(value)
    }
}

/// The reader's message without the names of our types and without the position, which the path gives better.
fn in_plain_words(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    let words = message.split(' ').map(|word| match word.trim_end_matches(',') {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        "i32" | "i64" => "an integer",
        "f32" | "f64" => "a number",
        _ => word,
    });
    let message = words.collect::<Vec<_>>().join(" ");
    match message.split_once("struct ") {
        Some((before, after)) => {
            format!(
                "{before}an object{}",
                after.find([' ', ',']).and_then(|at| after.get(at..)).unwrap_or_default()
            )
        }
        None => message,
    }
}

/// A successful response.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    media_type: &'static str,
    body: Vec<u8>,
}

impl Reply {
    /// A JSON body.
    pub fn json<T: Serialize>(status: u16, body: &T) -> Result<Self> {
        Ok(Self {
            status: StatusCode::from_u16(status).map_err(|e| Error::internal("choosing a status", e))?,
            media_type: "application/json",
            body: serde_json::to_vec(body).map_err(|e| Error::internal("writing a body", e))?,
        })
    }
}

/// Serves one or several routes for ever. Every response carries the request id, the security headers and, for a
/// configured origin, the CORS headers.
pub async fn run<H, F>(function: &'static str, edge: Edge, handler: H) -> Result<(), lambda_http::Error>
where
    H: Fn(Call) -> F + Sync,
    F: Future<Output = Result<Reply>> + Send,
{
    let (handler, edge) = (&handler, &edge);
    lambda_http::run(lambda_http::service_fn(move |request: Request| async move {
        let call = Call::of(request, edge);
        let origin = call.header(header::ORIGIN).map(str::to_owned);
        let request_id = call.invocation.request_id.clone();
        let response = logs::summarised(function, &request_id, async {
            logs::note("method", call.method.as_str());
            logs::note("route", call.route.clone());
            // On the heap: the SDK's futures nest so deeply that the compiler gives up on the whole in one piece.
            let response = match Box::pin(handler(call)).await {
                Ok(reply) => success(reply),
                Err(error) => {
                    logs::error(&error);
                    failure(&error, &request_id)
                }
            };
            logs::note("status", response.status().as_u16());
            response
        })
        .await;
        Ok::<_, Infallible>(finish(response, &request_id, origin.as_deref(), edge))
    }))
    .await
}

fn success(reply: Reply) -> Response<Body> {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = reply.status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.media_type));
    response
}

fn failure(error: &Error, request_id: &str) -> Response<Body> {
    let problem = Problem::of(error, request_id);
    let mut response = Response::new(Body::from(serde_json::to_vec(&problem).unwrap_or_default()));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(after) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    if error.kind() == Kind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn finish(
    mut response: Response<Body>,
    request_id: &str,
    origin: Option<&str>,
    edge: &Edge,
) -> Response<Body> {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=63072000; includeSubDomains"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    let allowed =
        origin.filter(|origin| edge.origins.iter().any(|allowed| allowed == origin || allowed == "*"));
    if let Some(value) = allowed.and_then(|origin| HeaderValue::from_str(origin).ok()) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        let exposed = HeaderValue::from_static("X-Request-ID, Retry-After");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Input {
        #[expect(dead_code, reason = "only its reading is tested")]
        size: u64,
    }

    fn call(content_type: &str, body: &[u8]) -> Call {
        let mut request = Request::new(Body::from(body));
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        let edge = Edge::from_env(&Env::of(&[])).unwrap();
        Call::of(request.with_lambda_context(lambda_runtime::Context::default()), &edge)
    }

    #[test]
    fn a_bad_body_is_explained() {
        let error = |kind: &str, body: &str| call(kind, body.as_bytes()).json::<Input>().unwrap_err();
        let wrong = error("application/json", r#"{"size":"x"}"#);
        assert_eq!((wrong.code(), wrong.path()), ("invalid_field", Some("size")));
        assert_eq!(
            wrong.detail(),
            "The body does not fit: invalid type: string \"x\", expected a whole number."
        );
        assert_eq!(
            error("application/json", "7").detail(),
            "The body does not fit: invalid type: integer `7`, expected an object."
        );
        assert_eq!(error("application/json", "[1]").code(), "invalid_field");
        assert_eq!(
            call("application/json", b"{\"size\":1,\"x\":\"\xff\"}").json::<Input>().unwrap_err().code(),
            "malformed_json"
        );
        assert_eq!(error("application/json", "{").code(), "malformed_json");
        assert_eq!(error("application/json", r#"{"size":1} x"#).code(), "malformed_json");
        assert_eq!(error("text/plain", "{}").code(), "unsupported_media_type");
        let huge = format!("{{\"size\":1,\"x\":\"{}\"}}", "x".repeat(limits::MAX_JSON_BYTES));
        assert_eq!(error("application/json", &huge).kind(), Kind::TooLarge);
    }

    #[test]
    fn only_configured_origins_are_let_in() {
        let edge = Edge::from_env(&Env::of(&[("CORS_ORIGINS", "https://app.example")])).unwrap();
        let reply = |origin| finish(success(Reply::json(200, &1).unwrap()), "id", origin, &edge);
        let allowed = reply(Some("https://app.example"));
        assert_eq!(allowed.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example");
        let refused = reply(Some("https://evil.example"));
        assert!(!refused.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(refused.headers()["x-request-id"], "id");
    }
}
