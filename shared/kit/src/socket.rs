//! Functions behind the WebSocket API.

use crate::{invoke::Invocation, logs};
use docuchat_domain::{Error, Kind};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::HashMap, future::Future};

/// One event of a connection.
#[derive(Debug, Clone)]
pub struct Event {
    /// The connection.
    pub connection_id: String,
    /// The frame's text; empty on `$connect` and `$disconnect`.
    pub body: String,
    /// The invocation.
    pub invocation: Invocation,
    headers: HashMap<String, String>,
    query: HashMap<String, String>,
}

impl Event {
    /// A header of the `$connect` request, by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A query parameter of the `$connect` request.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

/// The part of the proxy event that is used. Headers are absent on every route but `$connect`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proxied {
    request_context: RequestContext,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    headers: Option<HashMap<String, Option<String>>>,
    #[serde(default)]
    query_string_parameters: Option<HashMap<String, Option<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    connection_id: String,
}

fn present(map: Option<HashMap<String, Option<String>>>) -> HashMap<String, String> {
    map.unwrap_or_default().into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Serves one WebSocket route for ever. The answer has a status and no body: a body would be sent to the client. On
/// `$connect`, a status of 4xx refuses the connection.
pub async fn run<H, F>(function: &'static str, handler: H) -> Result<(), lambda_runtime::Error>
where
    H: Fn(Event) -> F,
    F: Future<Output = Result<(), Error>>,
{
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Proxied>| async move {
        let invocation = Invocation::of(&event.context);
        let request_id = invocation.request_id.clone();
        let proxied = event.payload;
        let event = Event {
            connection_id: proxied.request_context.connection_id,
            body: proxied.body.unwrap_or_default(),
            invocation,
            headers: present(proxied.headers),
            query: present(proxied.query_string_parameters),
        };
        let answer: Value = logs::summarised(function, &request_id, async {
            logs::note("connection_id", event.connection_id.clone());
            // On the heap: the SDK's futures nest so deeply that the compiler gives up on the whole in one piece.
            let status = match Box::pin(handler(event)).await {
                Ok(()) => 200,
                Err(error) => {
                    logs::error(&error);
                    status_of(error.kind())
                }
            };
            logs::note("status", status);
            json!({ "statusCode": status })
        })
        .await;
        Ok::<_, lambda_runtime::Error>(answer)
    }))
    .await
}

/// The HTTP status of a kind of error.
pub(crate) const fn status_of(kind: Kind) -> u16 {
    match kind {
        Kind::Invalid => 400,
        Kind::Unauthenticated => 401,
        Kind::Forbidden => 403,
        Kind::NotFound => 404,
        Kind::Conflict => 409,
        Kind::TooLarge => 413,
        Kind::Unsupported => 415,
        Kind::RateLimited => 429,
        Kind::Unavailable => 503,
        Kind::Internal => 500,
    }
}
