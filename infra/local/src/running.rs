//! Where a running stack is, for this process and for others.

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Context, Problem, Result, read_if_present},
    process,
};

/// Where a running stack is; also written to `running.json` in its folder, for other terminals.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    /// Process of the runner.
    pub process: u32,
    /// Processes of its children.
    pub children: Vec<u32>,
    /// Base of the REST API, through the front door; without a slash at the end.
    pub rest_url: String,
    /// The WebSocket API, through the front door.
    pub websocket_url: String,
    /// The mailbox.
    pub mailbox_url: String,
    /// REST API as the emulator serves it.
    pub emulator_rest_url: String,
    /// WebSocket API as the emulator serves it.
    pub emulator_websocket_url: String,
    /// Endpoint for AWS clients.
    pub emulator_url: String,
    /// The model server's or service's base URL.
    pub models_url: String,
    /// Connection string of the database's owner.
    pub database_admin_url: String,
    /// Folder of the logs.
    pub logs: PathBuf,
    /// Outputs of template.yaml.
    pub outputs: BTreeMap<String, String>,
    /// Physical ids of template.yaml's resources by logical id.
    pub resources: BTreeMap<String, String>,
}

impl Running {
    /// The running stack of this folder, if there is one.
    pub fn find(state: &Path) -> Result<Option<Self>> {
        let Some(text) = read_if_present(&state.join("running.json"))? else { return Ok(None) };
        let running: Option<Self> = serde_json::from_str(&text).ok();
        Ok(running.filter(|running| is_locked(state) && process::is_alive(running.process)))
    }

    /// The deployed name of a function, from the name of its binary: `files-list` is `FilesListFunction`.
    pub fn function(&self, binary: &str) -> Result<&str> {
        let logical_id = logical_id(binary);
        self.resources
            .get(&logical_id)
            .map(String::as_str)
            .ok_or_else(|| Problem::new(format!("template.yaml has no {logical_id}")))
    }

    /// The names of the functions' binaries, sorted.
    #[must_use]
    pub fn functions(&self) -> Vec<String> {
        self.resources.keys().filter_map(|id| id.strip_suffix("Function")).map(binary_name).collect()
    }

    /// Stops the stack from another process and waits until it has saved its state.
    pub async fn stop(&self, state: &Path) -> Result<()> {
        if !process::terminate(self.process) {
            return Err(Problem::new(format!("Process {} cannot be told to stop", self.process))
                .remedy("It may belong to another user: stop it from there."));
        }
        let started = Instant::now();
        while is_locked(state) && process::is_alive(self.process) {
            if started.elapsed() > Duration::from_mins(2) {
                return Err(Problem::new(format!("Process {} does not end", self.process)).remedy(format!(
                    "End it with `kill -9 {}`; what it started then saves its state by itself.",
                    self.process
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// An output of template.yaml.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| Problem::new(format!("template.yaml has no output {name}")))
    }
}

fn logical_id(binary: &str) -> String {
    let mut id: String = binary
        .split('-')
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters)
        })
        .collect();
    id.push_str("Function");
    id
}

/// `FilesCreate` is `files-create`.
fn binary_name(words: &str) -> String {
    words.chars().fold(String::new(), |mut name, letter| {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
        name
    })
}

/// Takes the stack's lock, or says who has it.
pub(crate) fn lock(state: &Path) -> Result<File> {
    let path = state.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .context(|| format!("Could not open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let at = Running::find(state)?.map_or(String::new(), |running| {
                format!(" at {} (process {})", running.rest_url, running.process)
            });
            Err(Problem::new(format!("This stack is already running{at}"))
                .remedy("Use it, or stop it with `cargo local down`."))
        }
        Err(TryLockError::Error(error)) => {
            Err(Problem::caused(format!("Could not lock {}", path.display()), &error))
        }
    }
}

/// Whether a runner holds this stack.
pub(crate) fn is_locked(state: &Path) -> bool {
    File::open(state.join("lock"))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_has_its_logical_id() {
        assert_eq!(logical_id("files-create"), "FilesCreateFunction");
        assert_eq!(logical_id("ingest"), "IngestFunction");
        assert_eq!(logical_id("ws-connect"), "WsConnectFunction");
        assert_eq!(binary_name("IngestDeadLetter"), "ingest-dead-letter");
    }

    #[test]
    fn a_second_runner_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(is_locked(folder.path()));
        assert!(lock(folder.path()).unwrap_err().to_string().contains("already running"));
        drop(first);
        assert!(!is_locked(folder.path()));
    }
}
