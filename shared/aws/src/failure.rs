//! SDK failures as [`docuchat_domain::Error`]s: transient or not, with the cause for the log only.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::{display::DisplayErrorContext, metadata::ProvideErrorMetadata};
use docuchat_domain::Error;
use std::{error::Error as StdError, fmt::Debug};

/// Codes of failures that pass: throttling, contention, and faults on the other side.
const TRANSIENT: [&str; 14] = [
    "InternalServerError",
    "InternalError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionConflictException",
    "TransactionInProgressException",
    "LimitExceededException",
];

/// Turns a failed call into an error. `what` names the operation for the log, for instance `"reading the document"`.
#[expect(clippy::needless_pass_by_value, reason = "the end of a `map_err`, which hands the error over")]
pub fn failure<E, R>(what: &'static str, error: SdkError<E, R>) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    R: Debug + Send + Sync + 'static,
{
    let transient = match &error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        SdkError::ServiceError(service) => {
            service.err().code().is_none_or(|code| TRANSIENT.contains(&code) || code.starts_with('5'))
        }
        _ => false,
    };
    let cause = DisplayErrorContext(&error).to_string();
    if transient { Error::unavailable(what, cause) } else { Error::internal(what, cause) }
}
