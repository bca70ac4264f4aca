//! The models that may be used and what they cost.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// A chat model on the whitelist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The name that the service knows it by.
    pub id: String,
    /// Price of a million tokens of prompt, in US dollars.
    pub input_usd_per_million: f64,
    /// Price of a million tokens of answer, in US dollars.
    pub output_usd_per_million: f64,
    /// Tokens of prompt and answer together.
    pub context_tokens: u32,
}

impl Model {
    /// The cost of a call, in millionths of a US dollar, rounded to the nearest.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "prices and token counts are far below 2^52, and not negative"
    )]
    pub fn cost_micro_usd(&self, tokens_in: u64, tokens_out: u64) -> u64 {
        // Dollars per million tokens are the same number as millionths of a dollar per token.
        (tokens_in as f64 * self.input_usd_per_million + tokens_out as f64 * self.output_usd_per_million)
            .round() as u64
    }
}

/// The whitelist.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    models: Vec<Model>,
    default: Model,
}

impl Catalogue {
    /// A whitelist with its default. The default must be on it, and prices must not be negative.
    pub fn new(models: Vec<Model>, default: &str) -> Result<Self> {
        let price_ok = |price: f64| price.is_finite() && price >= 0.0;
        if let Some(model) =
            models.iter().find(|m| !price_ok(m.input_usd_per_million) || !price_ok(m.output_usd_per_million))
        {
            return Err(Error::invalid(
                "invalid_price",
                format!("The price of model {} is not a number of dollars.", model.id),
            ));
        }
        let default = models.iter().find(|model| model.id == default).cloned().ok_or_else(|| {
            Error::invalid("unknown_model", format!("The model {default} is not on the list of models."))
        })?;
        Ok(Self { models, default })
    }

    /// The model used when none is named.
    #[must_use]
    pub const fn default_model(&self) -> &Model {
        &self.default
    }

    /// A model by name; one that is not on the list is refused.
    pub fn get(&self, id: &str) -> Result<&Model> {
        self.models.iter().find(|model| model.id == id).ok_or_else(|| {
            Error::invalid("model_not_allowed", format!("The model {id:?} is not available here."))
        })
    }

    /// All of them.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.models
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mini() -> Model {
        Model {
            id: "mini".into(),
            input_usd_per_million: 0.15,
            output_usd_per_million: 0.6,
            context_tokens: 128_000,
        }
    }

    #[test]
    fn a_million_tokens_cost_their_price() {
        assert_eq!(mini().cost_micro_usd(1_000_000, 0), 150_000);
        assert_eq!(mini().cost_micro_usd(2000, 500), 600);
    }

    #[test]
    fn only_listed_models() {
        let catalogue = Catalogue::new(vec![mini()], "mini").unwrap();
        assert_eq!(catalogue.get("other").unwrap_err().code(), "model_not_allowed");
        assert_eq!(Catalogue::new(vec![mini()], "other").unwrap_err().code(), "unknown_model");
        let negative = Model { input_usd_per_million: -1.0, ..mini() };
        assert_eq!(Catalogue::new(vec![negative], "mini").unwrap_err().code(), "invalid_price");
    }
}
