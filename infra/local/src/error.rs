//! Failures as one sentence for the person at the terminal, with what to do about it.

use std::{error::Error as StdError, fmt, io, path::Path};

/// What went wrong, in one clear sentence, and the remedy when there is one.
#[derive(Debug)]
pub struct Problem {
    what: String,
    remedy: Option<String>,
}

/// Result of everything in this crate.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    /// A failure for which nothing better can be advised than to read the sentence.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None }
    }

    /// Adds what to do about it: an imperative sentence.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// A failure with a cause. A full disk is recognised wherever it stands in the chain of causes, because every
    /// step of the set-up can meet it.
    pub fn caused(what: impl fmt::Display, cause: &(dyn StdError + 'static)) -> Self {
        let mut chain = vec![cause.to_string()];
        let mut next = Some(cause);
        let mut full = false;
        while let Some(error) = next {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                full |= matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            }
            let text = error.to_string();
            if !chain.iter().any(|known| known.contains(&text)) {
                chain.push(text);
            }
            next = error.source();
        }
        let problem = Self::new(format!("{what}: {}", chain.join(": ")));
        if full { problem.remedy(DISK_FULL) } else { problem }
    }
}

/// The remedy for a full disk, wherever it is met.
pub(crate) const DISK_FULL: &str = "The disk is full: free about 1 GB, or set DOCUCHAT_HOME to a folder on another disk, and run the \
     command again (nothing half-made was left behind).";

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what.trim_end_matches('.'))?;
        f.write_str(".")?;
        match &self.remedy {
            Some(remedy) => write!(f, " {remedy}"),
            None => Ok(()),
        }
    }
}

impl StdError for Problem {}

/// Adds the sentence to a foreign error.
pub(crate) trait Context<T> {
    /// `what` says which step failed, without a full stop.
    fn context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: StdError + 'static> Context<T> for std::result::Result<T, E> {
    fn context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| Problem::caused(what(), &error))
    }
}

/// Creates a folder and its parents.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).context(|| format!("Could not create {}", path.display()))
}

/// Writes a whole file so that a reader never sees half of it: a temporary file beside it, then a rename.
/// On Unix only its owner can read it, for it may hold local secrets.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    create_folder(folder)?;
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut file, bytes)?;
        file.persist(path)?;
        Ok::<_, io::Error>(())
    };
    write().context(|| format!("Could not write {}", path.display()))
}

/// Reads a file that may not be there.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::caused(format!("Could not read {}", path.display()), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_wherever_it_is_met() {
        let problem = Problem::caused("Could not unpack x", &io::Error::from(io::ErrorKind::StorageFull));
        assert!(problem.to_string().contains("free about 1 GB"), "{problem}");
    }

    #[test]
    fn the_sentence_ends_once_and_the_remedy_follows() {
        let problem = Problem::new("Port 8080 is in use.").remedy("Use --port.");
        assert_eq!(problem.to_string(), "Port 8080 is in use. Use --port.");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(read_if_present(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(std::fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
    }
}
