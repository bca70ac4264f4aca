//! Functions that other functions call directly.

use crate::logs;
use docuchat_domain::Error;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    future::Future,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What a handler may know of its invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Id of the request, for logs and problems.
    pub request_id: String,
    /// When the invocation is ended from outside.
    pub deadline: Instant,
}

impl Invocation {
    /// Of a runtime context.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the runtime gives its deadline in wall-clock milliseconds"
    )]
    pub fn of(context: &lambda_runtime::Context) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_millis(context.deadline).saturating_sub(now);
        Self { request_id: context.request_id.clone(), deadline: Instant::now() + left }
    }

    /// The time left, less a margin for answering.
    #[must_use]
    pub fn remaining(&self, margin: Duration) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).saturating_sub(margin)
    }
}

/// Serves direct invocations for ever. An error becomes a function error that carries the code and the public
/// sentence only.
pub async fn run<I, O, H, F>(function: &'static str, handler: H) -> Result<(), lambda_runtime::Error>
where
    I: DeserializeOwned,
    O: Serialize,
    H: Fn(I, Invocation) -> F,
    F: Future<Output = Result<O, Error>>,
{
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<I>| async move {
        let invocation = Invocation::of(&event.context);
        let request_id = invocation.request_id.clone();
        logs::summarised(function, &request_id, async {
            // On the heap: the SDK's futures nest so deeply that the compiler gives up on the whole in one piece.
            Box::pin(handler(event.payload, invocation)).await.map_err(|error| {
                logs::error(&error);
                Diagnostic { error_type: error.code().to_owned(), error_message: error.detail().to_owned() }
            })
        })
        .await
    }))
    .await
}
