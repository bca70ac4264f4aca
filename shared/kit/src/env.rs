//! Settings from environment variables. Every error names the variable, never its value.

use std::{collections::HashMap, fmt, str::FromStr};

/// A setting that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Required and not set (or empty).
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// Set to something it cannot be.
    #[error("the environment variable {name} is not {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
}

/// A source of settings: the process's environment, or a map in tests.
#[derive(Debug, Clone, Default)]
pub struct Env(Option<HashMap<String, String>>);

impl Env {
    /// The process's own environment.
    #[must_use]
    pub const fn process() -> Self {
        Self(None)
    }

    /// These settings and no others.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()))
    }

    /// A setting, if it is set and not empty.
    #[must_use]
    pub fn optional(&self, name: &'static str) -> Option<String> {
        let value = match &self.0 {
            Some(map) => map.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.trim().is_empty())
    }

    /// A setting that must be there.
    pub fn required(&self, name: &'static str) -> Result<String, SettingError> {
        self.optional(name).ok_or(SettingError::Missing(name))
    }

    /// A setting of some type with a default; `expected` completes the sentence "… is not …".
    pub fn parsed<T: FromStr>(
        &self,
        name: &'static str,
        default: T,
        expected: &'static str,
    ) -> Result<T, SettingError> {
        match self.optional(name) {
            Some(text) => text.trim().parse().map_err(|_| SettingError::Invalid { name, expected }),
            None => Ok(default),
        }
    }

    /// A setting that must be there and be of some type.
    pub fn required_parsed<T: FromStr>(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<T, SettingError> {
        self.required(name)?.trim().parse().map_err(|_| SettingError::Invalid { name, expected })
    }

    /// A list separated by commas; empty when not set.
    #[must_use]
    pub fn list(&self, name: &'static str) -> Vec<String> {
        let text = self.optional(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// A key of at least 32 bytes.
    pub fn secret(&self, name: &'static str) -> Result<Secret, SettingError> {
        let value = self.required(name)?;
        if value.len() < 32 {
            return Err(SettingError::Invalid { name, expected: "a secret of at least 32 bytes" });
        }
        Ok(Secret(value))
    }
}

/// A text that never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one call that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_variable_and_hide_the_value() {
        let env = Env::of(&[("TOP_K", "many"), ("CODE_SECRET", "short"), ("EMPTY", " ")]);
        assert_eq!(
            env.required("EMPTY").unwrap_err().to_string(),
            "the environment variable EMPTY is not set"
        );
        let error = env.parsed("TOP_K", 6u32, "a number").unwrap_err().to_string();
        assert_eq!(error, "the environment variable TOP_K is not a number");
        let error = env.secret("CODE_SECRET").unwrap_err().to_string();
        assert!(error.contains("CODE_SECRET") && !error.contains("short"), "{error}");
        assert_eq!(format!("{:?}", Secret::new("x")), "Secret(***)");
    }

    #[test]
    fn lists_and_defaults() {
        let env = Env::of(&[("CORS_ORIGINS", "http://a, ,http://b")]);
        assert_eq!(env.list("CORS_ORIGINS"), ["http://a", "http://b"]);
        assert_eq!(env.parsed("TOP_K", 6u32, "a number").unwrap(), 6);
    }
}
