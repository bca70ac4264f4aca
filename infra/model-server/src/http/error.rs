//! Errors in the shape of the OpenAI interface.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// `{"error": {"message", "type", "param", "code"}}` with its status.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<&'static str>,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, param: None, message: message.into() }
    }

    /// 400: the request is wrong and will stay so.
    pub(crate) fn invalid(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { param, ..Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message) }
    }

    /// 400: more tokens than the model reads.
    pub(crate) fn context_length(tokens: usize, most: usize) -> Self {
        Self {
            code: Some("context_length_exceeded"),
            param: Some("messages"),
            ..Self::invalid(
                None,
                format!("This model reads at most {most} tokens; the messages have {tokens}."),
            )
        }
    }

    /// 404: no such address.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
    }

    /// 404: no such model on this route.
    pub(crate) fn unknown_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist here; GET /v1/models lists those that do.");
        Self { code: Some("model_not_found"), param: Some("model"), ..Self::not_found(message) }
    }

    /// 429.
    pub(crate) fn rate_limited() -> Self {
        let message = "Rate limit reached (a fault that a test switched on).";
        Self {
            code: Some("rate_limit_exceeded"),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "requests", message)
        }
    }

    /// 500.
    pub(crate) fn server(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// The body, which is also the data of an error event within a stream.
    pub(crate) fn body(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}
