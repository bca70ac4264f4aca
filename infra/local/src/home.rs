//! Where things are: the project, its tools, and the folder of each stack.

use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use crate::error::{Context, Problem, Result, create_folder};

/// The user that PostgreSQL runs as when the runner is root, which PostgreSQL refuses: "nobody".
pub(crate) const NOBODY: u32 = 65534;

/// Folders of one project.
#[derive(Clone, Debug)]
pub struct Home {
    project: PathBuf,
    local: PathBuf,
}

impl Home {
    /// The project this binary was built from, or the one around the current folder; everything a run makes is under
    /// its `.local`, or under `DOCUCHAT_HOME`.
    pub fn find() -> Result<Self> {
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let here = std::env::current_dir().unwrap_or_default();
        let project = here
            .ancestors()
            .map(Path::to_owned)
            .chain([built_from])
            .find(|folder| folder.join("infra/local/requirements.txt").is_file())
            .ok_or_else(|| {
                Problem::new("This is not inside the project").remedy("Run it from the project's folder.")
            })?;
        let project = project.canonicalize().unwrap_or(project);
        let local = match std::env::var_os("DOCUCHAT_HOME") {
            Some(folder) if !folder.is_empty() => here.join(PathBuf::from(folder)),
            _ => project.join(".local"),
        };
        create_folder(&local)?;
        Ok(Self { local: local.canonicalize().unwrap_or(local), project })
    }

    /// The root of the project: where template.yaml is.
    #[must_use]
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// Downloads and what is unpacked from them.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.local.join("tools")
    }

    /// Zipped functions, shared by all stacks.
    pub(crate) fn packages(&self) -> PathBuf {
        self.local.join("packages")
    }

    /// State, logs and data of a stack.
    #[must_use]
    pub fn stack(&self, name: &str) -> PathBuf {
        self.local.join("stack").join(name)
    }

    /// Where PostgreSQL's program and data may be: `.local`, or, when the runner is root and "nobody" could not reach
    /// that (a project inside root's own home), a folder under /var/tmp made from its path.
    pub(crate) fn for_postgres(&self) -> PathBuf {
        if !geteuid().is_root() || reachable_by_others(&self.local) {
            return self.local.clone();
        }
        let digest = Sha256::digest(self.local.as_os_str().as_encoded_bytes());
        let name: String = crate::setup::hex(&digest).chars().take(12).collect();
        PathBuf::from(format!("/var/tmp/docuchat-{name}"))
    }

    /// Lets the user that PostgreSQL runs as pass through the folders from `.local` down to this one, whatever the
    /// umask was when they were made. Passing is not listing: what is in them stays as private as it was.
    pub(crate) fn let_postgres_pass(&self, folder: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        if !geteuid().is_root() {
            return Ok(());
        }
        let base = self.for_postgres();
        for part in folder.ancestors().take_while(|part| part.starts_with(&base)) {
            let failed = || format!("Could not open {} to the user that PostgreSQL runs as", part.display());
            let mode = part.metadata().context(failed)?.permissions().mode();
            std::fs::set_permissions(part, std::fs::Permissions::from_mode(mode | 0o011)).context(failed)?;
        }
        Ok(())
    }
}

/// The uid PostgreSQL must be started with, when not our own.
pub(crate) fn postgres_user() -> Option<u32> {
    geteuid().is_root().then_some(NOBODY)
}

/// Whether any user may pass through every folder down to this one.
fn reachable_by_others(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    folder
        .ancestors()
        .all(|part| part.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_private_folder_is_not_reachable() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("project");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(reachable_by_others(&inner));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!reachable_by_others(&inner));
    }
}
