//! Functions behind a queue: every message is done, or comes back. Nothing else happens to it.

use crate::{invoke::Invocation, logs};
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use docuchat_domain::Error;
use lambda_runtime::{LambdaEvent, service_fn};
use std::{future::Future, time::Duration};

/// What became of a message.
#[derive(Debug)]
pub enum Outcome {
    /// It is dealt with, successfully or not: the queue forgets it.
    Done,
    /// A retry may help: the queue delivers it again.
    Retry {
        /// Not before this time; the queue's own visibility time-out when `None`.
        after: Option<Duration>,
        /// Why, for the log.
        error: Error,
    },
}

/// Serves batches for ever, one message after the other. `postpone` makes one message (by its receipt handle) come
/// again after the given time.
pub async fn run<H, F, P, Q>(
    function: &'static str,
    handler: H,
    postpone: P,
) -> Result<(), lambda_runtime::Error>
where
    H: Fn(SqsMessage, Invocation) -> F,
    F: Future<Output = Outcome>,
    P: Fn(String, Duration) -> Q,
    Q: Future<Output = Result<(), Error>>,
{
    let (handler, postpone) = (&handler, &postpone);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let invocation = Invocation::of(&event.context);
        let request_id = invocation.request_id.clone();
        let response = logs::summarised(function, &request_id, async {
            let mut failures = Vec::new();
            for message in event.payload.records {
                let id = message.message_id.clone().unwrap_or_default();
                let receipt = message.receipt_handle.clone();
                if let Outcome::Retry { after, error } = Box::pin(handler(message, invocation.clone())).await
                {
                    logs::add("retries", 1);
                    tracing::warn!(
                        message_id = id,
                        after_s = after.map(|t| t.as_secs()),
                        error = error.chain(),
                        "retry"
                    );
                    if let (Some(receipt), Some(after)) = (receipt, after) {
                        // Without it the message comes back all the same, only later.
                        if let Err(error) = Box::pin(postpone(receipt, after)).await {
                            tracing::warn!(error = error.chain(), "the message could not be postponed");
                        }
                    }
                    let mut failure = BatchItemFailure::default();
                    failure.item_identifier = id;
                    failures.push(failure);
                }
            }
            let mut response = SqsBatchResponse::default();
            response.batch_item_failures = failures;
            response
        })
        .await;
        Ok::<_, lambda_runtime::Error>(response)
    }))
    .await
}
