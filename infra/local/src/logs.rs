//! Logs of functions, from the emulator's `CloudWatch` Logs.

use std::collections::HashSet;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    cloud::{ADMIN_KEY, REGION},
    error::{Context, Problem, Result},
    running::Running,
};

/// Reads the log of one function, and then what is added to it. The emulator writes a function's output when the
/// invocation ends.
#[derive(Debug)]
pub struct FunctionLog {
    http: reqwest::Client,
    endpoint: String,
    group: String,
    since: i64,
    /// Streams that were printed: the emulator writes one per invocation, all at once.
    seen: HashSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    events: Vec<Event>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    log_stream_name: String,
    timestamp: i64,
    message: String,
}

impl FunctionLog {
    /// The log of a function by its deployed name, from the beginning.
    pub fn of(running: &Running, function: &str) -> Result<Self> {
        Ok(Self {
            http: crate::http::client()?,
            endpoint: running.emulator_url.clone(),
            group: format!("/aws/lambda/{function}"),
            since: 0,
            seen: HashSet::new(),
        })
    }

    /// The lines that were added since the last call.
    pub async fn next(&mut self) -> Result<Vec<String>> {
        let failed = || format!("The AWS emulator does not show the log {}", self.group);
        let mut lines = Vec::new();
        let mut streams = HashSet::new();
        let mut latest = self.since;
        let mut token: Option<String> = None;
        loop {
            let mut request = json!({"logGroupName": self.group, "startTime": self.since});
            if let (Some(token), Some(request)) = (&token, request.as_object_mut()) {
                request.insert("nextToken".to_owned(), json!(token));
            }
            let request = self
                .signed(request.to_string())
                .map_err(|error| Problem::caused(failed(), error.as_ref()))?;
            let answer = self.http.execute(request).await.context(failed)?;
            if answer.status() == http::StatusCode::BAD_REQUEST {
                // The group is made with the first invocation.
                return Ok(Vec::new());
            }
            if !answer.status().is_success() {
                return Err(Problem::new(failed()));
            }
            let page: Page = answer.json().await.context(failed)?;
            for event in page.events {
                latest = latest.max(event.timestamp);
                if !self.seen.contains(&event.log_stream_name) {
                    lines.push(event.message);
                    streams.insert(event.log_stream_name);
                }
            }
            token = page.next_token;
            if token.is_none() {
                break;
            }
        }
        self.since = latest;
        self.seen.extend(streams);
        Ok(lines)
    }

    /// One JSON call of one operation: signed by hand rather than with a whole SDK crate.
    fn signed(&self, body: String) -> Result<reqwest::Request, Box<dyn std::error::Error + Send + Sync>> {
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "Logs_20140328.FilterLogEvents"),
        ];
        let identity = Credentials::new(ADMIN_KEY, ADMIN_KEY, None, None, "local").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name("logs")
            .time(crate::clock::system_time())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signable = SignableRequest::new(
            "POST",
            self.endpoint.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(body.as_bytes()),
        )?;
        let (instructions, _signature) = sign(signable, &parameters)?.into_parts();
        let mut request = http::Request::builder().method("POST").uri(&self.endpoint);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut request = request.body(body)?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request.try_into()?)
    }
}
