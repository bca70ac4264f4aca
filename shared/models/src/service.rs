//! One HTTP client for a model service and the classes of its failures.

use docuchat_domain::{Error, Kind, Result};
use docuchat_kit::{Env, RuntimeError, env::Secret};
use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// How much of a refusal's body is kept for the log, in characters.
const LOGGED_CHARS: usize = 300;

/// Where the service is and how to reach it.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    client: Client,
    base_url: String,
    key: Secret,
}

impl Service {
    /// From `OPENAI_BASE_URL` (default `https://api.openai.com/v1`) and `OPENAI_API_KEY`.
    pub(crate) fn from_env(env: &Env) -> Result<Self, RuntimeError> {
        let base_url = env.optional("OPENAI_BASE_URL").unwrap_or_else(|| "https://api.openai.com/v1".into());
        // Pinned roots: reading the system's certificates costs milliseconds at every cold start.
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            // Between two reads, not over the whole answer: a stream may be long, but never silent for this long.
            .read_timeout(Duration::from_mins(1))
            .build()?;
        Ok(Self {
            client,
            base_url: base_url.trim_end_matches('/').to_owned(),
            key: Secret::new(env.required("OPENAI_API_KEY")?),
        })
    }

    /// A GET.
    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}/{path}", self.base_url)).bearer_auth(self.key.reveal())
    }

    /// A POST with a JSON body.
    pub(crate) fn post<T: Serialize + ?Sized>(&self, path: &str, body: &T) -> RequestBuilder {
        self.client.post(format!("{}/{path}", self.base_url)).bearer_auth(self.key.reveal()).json(body)
    }
}

/// Sends and returns only an answer with a status of 2xx.
pub(crate) async fn accepted(request: RequestBuilder) -> Result<Response> {
    let response = request.send().await.map_err(|e| unavailable("no answer", &e))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = retry_after(&response);
    let body = response.text().await.unwrap_or_default();
    Err(refusal(status, retry_after, &body))
}

/// The service did not do what was asked, for a reason that may pass.
pub(crate) fn unavailable(what: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::new(
        Kind::Unavailable,
        "model_unavailable",
        "The model service cannot answer just now; try again shortly.",
    )
    .with_source(format!("{what}: {cause}"))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

/// The error object of the OpenAI API.
#[derive(Debug, Deserialize)]
pub(crate) struct ErrorDetail {
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) code: Option<serde_json::Value>,
}

/// The error behind a status that is not 2xx.
pub(crate) fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &str) -> Error {
    let detail = serde_json::from_str::<ErrorBody>(body).map(|body| body.error).ok();
    let code = detail.as_ref().and_then(|detail| detail.code.as_ref()).and_then(serde_json::Value::as_str);
    let message = detail.as_ref().map_or(body, |detail| &detail.message);
    let logged = format!("HTTP {status}: {}", message.chars().take(LOGGED_CHARS).collect::<String>());
    match status {
        // A spent quota is answered with 429 as well, but waiting does not help.
        StatusCode::TOO_MANY_REQUESTS if code != Some("insufficient_quota") => {
            let error =
                Error::new(Kind::RateLimited, "model_busy", "The model service is busy; try again shortly.");
            let error = error.with_source(logged);
            match retry_after {
                Some(after) => error.with_retry_after(after),
                None => error,
            }
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => unavailable("refused", &logged),
        status if status.is_server_error() => unavailable("refused", &logged),
        _ if code == Some("context_length_exceeded") || message.contains("maximum context length") => {
            Error::invalid(
                "context_length_exceeded",
                "The question and its context are longer than the model takes.",
            )
            .with_source(logged)
        }
        _ => Error::new(Kind::Internal, "model_rejected", "The model service refused the request.")
            .with_source(logged),
    }
}
