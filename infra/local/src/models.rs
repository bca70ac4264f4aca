//! Which models the stack uses: our own small server, or a service that the environment names.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Problem, Result, read_if_present, write_file};

/// The models and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Models {
    /// Base URL of an OpenAI-compatible service; none for our own server, whose port is known later.
    pub(crate) base_url: Option<String>,
    /// Key of the service.
    pub(crate) api_key: String,
    /// Chat model.
    pub(crate) chat_model: String,
    /// The price table, JSON; none keeps the template's.
    pub(crate) price_table: Option<String>,
    /// Embedding model for passages.
    pub(crate) embedding_model: String,
    /// Embedding model for questions, where the service has one of its own.
    pub(crate) embedding_query_model: String,
    /// Numbers in a vector.
    pub(crate) dimensions: u32,
}

/// What the vectors on disk were made with.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    embedding_model: String,
    dimensions: u32,
}

impl Models {
    /// Our own server: real embeddings and extractive answers, without a key.
    #[must_use]
    pub fn local() -> Self {
        Self {
            base_url: None,
            api_key: "local".to_owned(),
            chat_model: "local-extractive".to_owned(),
            price_table: Some(
                r#"[{"id":"local-extractive","input_usd_per_million":0,"output_usd_per_million":0,"context_tokens":8192}]"#
                    .to_owned(),
            ),
            embedding_model: "e5-passage".to_owned(),
            embedding_query_model: "e5-query".to_owned(),
            dimensions: 384,
        }
    }

    /// What the environment names with `OPENAI_API_KEY`, or our own server when it does not.
    pub fn from_env() -> Result<Self> {
        Self::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(get: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let Some(api_key) = get("OPENAI_API_KEY") else { return Ok(Self::local()) };
        let embedding_model = get("EMBEDDING_MODEL").unwrap_or_else(|| "text-embedding-3-small".to_owned());
        let dimensions = match get("EMBEDDING_DIMENSIONS") {
            Some(text) => text
                .parse()
                .context(|| format!("EMBEDDING_DIMENSIONS is \"{text}\", which is not a whole number"))?,
            None => 1536,
        };
        Ok(Self {
            base_url: Some(get("OPENAI_BASE_URL").unwrap_or_else(|| "https://api.openai.com/v1".to_owned())),
            api_key,
            chat_model: get("CHAT_MODEL").unwrap_or_else(|| "gpt-4.1-mini".to_owned()),
            price_table: get("CHAT_MODELS"),
            embedding_query_model: get("EMBEDDING_QUERY_MODEL").unwrap_or_else(|| embedding_model.clone()),
            embedding_model,
            dimensions,
        })
    }

    /// Whether our own server answers.
    pub(crate) fn is_local(&self) -> bool {
        self.base_url.is_none()
    }

    /// Refuses another embedding model than the one that the vectors on disk were made with: they cannot be compared.
    pub(crate) fn check(&self, state: &Path) -> Result<()> {
        let Some(text) = read_if_present(&state.join("models.json"))? else { return Ok(()) };
        let recorded: Recorded = serde_json::from_str(&text).context(|| "models.json cannot be read")?;
        if recorded == self.recorded() {
            return Ok(());
        }
        Err(Problem::new(format!(
            "The documents of this stack were embedded with {} ({} dimensions), but {} ({} dimensions) is asked for now",
            recorded.embedding_model, recorded.dimensions, self.embedding_model, self.dimensions
        ))
        .remedy(
            "Change OPENAI_API_KEY, EMBEDDING_MODEL and EMBEDDING_DIMENSIONS back, or delete the data with `cargo local reset`.",
        ))
    }

    /// Records what vectors are made with from now on.
    pub(crate) fn record(&self, state: &Path) -> Result<()> {
        let text =
            serde_json::to_string_pretty(&self.recorded()).context(|| "models.json cannot be written")?;
        write_file(&state.join("models.json"), text.as_bytes())
    }

    fn recorded(&self) -> Recorded {
        Recorded { embedding_model: self.embedding_model.clone(), dimensions: self.dimensions }
    }

    /// The template's parameters for these models.
    pub(crate) fn parameters(&self, local_base_url: &str) -> BTreeMap<String, String> {
        let mut parameters = BTreeMap::from([
            ("OpenAiBaseUrl".to_owned(), self.base_url.clone().unwrap_or_else(|| local_base_url.to_owned())),
            ("OpenAiApiKey".to_owned(), self.api_key.clone()),
            ("ChatModel".to_owned(), self.chat_model.clone()),
            ("EmbeddingModel".to_owned(), self.embedding_model.clone()),
            ("EmbeddingQueryModel".to_owned(), self.embedding_query_model.clone()),
            ("EmbeddingDimensions".to_owned(), self.dimensions.to_string()),
        ]);
        if self.is_local() {
            // e5 puts unrelated texts at 0.75 and related ones above 0.8: its scale differs from other models'.
            parameters.insert("RelevanceThreshold".to_owned(), "0.84".to_owned());
        }
        if let Some(table) = &self.price_table {
            parameters.insert("ChatModels".to_owned(), table.clone());
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_environment_names_another_service() {
        let models = Models::from(|name| match name {
            "OPENAI_API_KEY" => Some("sk-1".to_owned()),
            "EMBEDDING_DIMENSIONS" => Some("256".to_owned()),
            _ => None,
        })
        .unwrap();
        assert!(!models.is_local());
        assert_eq!(models.embedding_query_model, "text-embedding-3-small");
        assert_eq!(models.parameters("http://x")["EmbeddingDimensions"], "256");
        assert_eq!(models.parameters("http://x")["OpenAiBaseUrl"], "https://api.openai.com/v1");
        assert!(Models::from(|_| None).unwrap().is_local());
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        let problem = Models::from(|name| Some(format!("{name}!"))).unwrap_err().to_string();
        assert!(problem.contains("EMBEDDING_DIMENSIONS"), "{problem}");
    }

    #[test]
    fn vectors_of_another_model_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let local = Models::local();
        local.check(folder.path()).unwrap();
        local.record(folder.path()).unwrap();
        local.check(folder.path()).unwrap();
        let other = Models { dimensions: 256, ..local };
        let text = other.check(folder.path()).unwrap_err().to_string();
        assert!(text.contains("cargo local reset") && text.contains("384"), "{text}");
    }
}
