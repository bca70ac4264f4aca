//! `POST /v1/embeddings`: models `e5-query` and `e5-passage`, 384 dimensions.
//!
//! A text longer than 512 positions is cut there. `usage` counts what the network read: prefix and marks included.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    FaultKind, FaultRoute, PASSAGE_MODEL, QUERY_MODEL, Shared,
    error::ApiError,
    stats::{InFlight, Route},
};
use crate::engine::{Role, Urgency};

/// As the OpenAI interface: more inputs than this in one request are refused.
const MOST_INPUTS: usize = 2048;

#[derive(Debug, Deserialize)]
struct Request {
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: Option<String>,
    #[serde(default)]
    dimensions: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    object: &'static str,
    data: Vec<Item>,
    model: &'a str,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

pub(super) async fn create(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let started = Instant::now();
    let in_flight = shared.stats.enter(Route::Embeddings);
    let fault = shared.faults.strike(FaultRoute::Embeddings);
    if fault.is_some() {
        in_flight.update(|stats| stats.faults += 1);
    }
    let kind = fault.as_ref().map(|fault| fault.kind);
    let (model, response) = if let Some(response) = fault.as_ref().and_then(super::Fault::early_response) {
        (String::new(), response)
    } else {
        match answer(&shared, &body, &in_flight).await {
            Ok((model, text)) => {
                let response = match &fault {
                    Some(fault) => {
                        if fault.kind == FaultKind::Slow {
                            tokio::time::sleep(fault.delay()).await;
                        }
                        fault.whole_response(&shared, text).await
                    }
                    None => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
                };
                in_flight.update(|stats| stats.completed += 1);
                (model, response)
            }
            Err(error) => {
                in_flight.update(|stats| stats.refused += 1);
                (String::new(), error.into_response())
            }
        }
    };
    super::log("embeddings", &model, &response, started, kind);
    response
}

async fn answer(shared: &Shared, body: &[u8], in_flight: &InFlight) -> Result<(String, String), ApiError> {
    let request: Request = serde_json::from_slice(body)
        .map_err(|error| ApiError::invalid(None, format!("not a valid request: {error}")))?;
    let role = match request.model.as_str() {
        QUERY_MODEL => Role::Query,
        PASSAGE_MODEL => Role::Passage,
        other => return Err(ApiError::unknown_model(other)),
    };
    let texts = match request.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
    };
    if texts.is_empty() || texts.len() > MOST_INPUTS {
        return Err(ApiError::invalid(Some("input"), format!("input must have 1 to {MOST_INPUTS} texts")));
    }
    if texts.iter().any(String::is_empty) {
        return Err(ApiError::invalid(Some("input"), "an input must not be an empty string"));
    }
    let dimensions = shared.engine.dimensions();
    if request.dimensions.is_some_and(|wanted| u64::try_from(dimensions) != Ok(wanted)) {
        return Err(ApiError::invalid(Some("dimensions"), format!("this model has {dimensions} dimensions")));
    }
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(ApiError::invalid(Some("encoding_format"), "must be float or base64")),
    };
    // A question is waited for and repeated; passages are ingestion.
    let urgency = if role == Role::Query { Urgency::Interactive } else { Urgency::Bulk };
    let embeddings = shared
        .engine
        .embed(role, &texts, urgency)
        .await
        .map_err(|error| ApiError::server(error.to_string()))?;
    let tokens = embeddings.iter().map(|embedding| embedding.tokens).sum::<usize>();
    in_flight.update(|stats| {
        stats.texts += embeddings.len() as u64;
        stats.prompt_tokens += tokens as u64;
    });
    if role == Role::Passage {
        shared.stats.passages(&texts);
    }
    let vector = |vector: Vec<f32>| {
        if base64 {
            Vector::Base64(
                STANDARD.encode(vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()),
            )
        } else {
            Vector::Float(vector)
        }
    };
    let data = embeddings
        .into_iter()
        .enumerate()
        .map(|(index, embedding)| Item { object: "embedding", index, embedding: vector(embedding.vector) })
        .collect();
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    let answer = Answer { object: "list", data, model: &request.model, usage };
    let text = serde_json::to_string(&answer).map_err(|error| ApiError::server(error.to_string()))?;
    Ok((request.model, text))
}
