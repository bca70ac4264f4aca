//! Secrets of one local stack: made once, kept in its folder, readable by its owner only.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Context, Result, read_if_present, write_file},
    setup::hex,
};

/// 32 random bytes each, in hexadecimal.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    /// Signs access tokens.
    pub token: String,
    /// Keys the hashes of e-mailed codes.
    pub code: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

impl Secrets {
    /// Reads them, or makes them.
    pub(crate) fn of(state: &Path) -> Result<Self> {
        let path = state.join("secrets.json");
        if let Some(text) = read_if_present(&path)? {
            return serde_json::from_str(&text).context(|| format!("{} cannot be read", path.display()));
        }
        let secrets = Self { token: random()?, code: random()? };
        let text = serde_json::to_string_pretty(&secrets).context(|| "The secrets cannot be written")?;
        write_file(&path, text.as_bytes())?;
        Ok(secrets)
    }
}

fn random() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context(|| "The system gives no random numbers")?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn they_are_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = Secrets::of(folder.path()).unwrap();
        let second = Secrets::of(folder.path()).unwrap();
        assert_eq!(first.token, second.token);
        assert_eq!(first.token.len(), 64);
        assert_ne!(first.token, first.code);
        let mode = folder.path().join("secrets.json").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}
