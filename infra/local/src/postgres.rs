//! PostgreSQL with pgvector, as an ordinary child process.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use crate::{
    error::{Context, Problem, Result, create_folder},
    home::postgres_user,
    process::{Gently, Service, Spec},
};

/// The superuser, used by migrations only.
pub(crate) const OWNER: &str = "docuchat";
/// Its password. No secret: the server listens on 127.0.0.1 only, and samconfig.toml names it for `sam deploy`.
pub(crate) const OWNER_PASSWORD: &str = "docuchat";
/// The role of the index functions, made by the migrations.
pub(crate) const APP_ROLE: &str = "docuchat_app";
/// The password that the migrations give it.
pub(crate) const APP_PASSWORD: &str = "docuchat-app";
/// The database.
pub(crate) const DATABASE: &str = "docuchat";

/// Where and how to run it.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// Folder of `postgres` and `initdb`.
    pub bin: PathBuf,
    /// Its data.
    pub data: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Postgres {
    /// Creates the data folder and the database when there are none, and starts the server.
    pub(crate) async fn start(&self) -> Result<Service> {
        self.initialise().await?;
        let arguments = [
            "-D",
            &self.data.to_string_lossy(),
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            // No socket file: its folder may not be writable, and only TCP is used.
            "-k",
            "",
            "-c",
            "max_connections=200",
            // A crash of this machine may cost the last moments of an index that can be rebuilt.
            "-c",
            "synchronous_commit=off",
        ]
        .map(str::to_owned);
        let mut service = Service::start(Spec {
            name: "PostgreSQL",
            program: &self.bin.join("postgres"),
            arguments: arguments.to_vec(),
            environment: environment(),
            folder: &self.data,
            log: &self.log,
            gently: Gently::Interrupt,
            user: postgres_user(),
        })?;
        let pid_file = self.data.join("postmaster.pid");
        let own = service.id().to_string();
        service
            .wait_until(Duration::from_mins(1), || {
                // The 8th line of postmaster.pid is the server's state; the first is its process, which tells a file
                // that a killed server left behind from ours.
                let text = fs::read_to_string(&pid_file).unwrap_or_default();
                let ready = text.lines().next() == Some(own.as_str())
                    && text.lines().nth(7).is_some_and(|state| state.trim() == "ready");
                async move { ready }
            })
            .await?;
        Ok(service)
    }

    /// Makes the data folder in a temporary place and renames it: an interrupted run leaves no half of one.
    async fn initialise(&self) -> Result<()> {
        if self.data.join("PG_VERSION").exists() {
            return Ok(());
        }
        let parent = self.data.parent().ok_or_else(|| Problem::new("The data folder has no parent"))?;
        create_folder(parent)?;
        let half = parent.join(".half-postgres");
        let password_file = parent.join(".half-password");
        let _left_over = fs::remove_dir_all(&half);
        create_folder(&half)?;
        fs::write(&password_file, OWNER_PASSWORD).context(|| "Could not write the database's password")?;
        if let Some(user) = postgres_user() {
            for path in [&half, &password_file] {
                std::os::unix::fs::chown(path, Some(user), Some(user))
                    .context(|| format!("Could not give {} to the user of PostgreSQL", path.display()))?;
            }
        }
        let mut command = tokio::process::Command::new(self.bin.join("initdb"));
        command
            .args(["-U", OWNER, "-A", "scram-sha-256", "-E", "UTF8", "--locale-provider=builtin"])
            .args(["--builtin-locale=C.UTF-8", "--no-sync", "--pwfile"])
            .arg(&password_file)
            .arg("-D")
            .arg(&half)
            .env_clear()
            .envs(environment())
            .current_dir(&half)
            .stdin(Stdio::null());
        if let Some(user) = postgres_user() {
            command.uid(user).gid(user);
        }
        let output =
            command.output().await.context(|| format!("Could not run {}", self.bin.join("initdb").display()));
        let _read_by_initdb = fs::remove_file(&password_file);
        let output = output?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let problem = Problem::new(format!(
                "PostgreSQL could not create its data folder: {}",
                text.trim().replace('\n', " / ")
            ));
            return Err(if text.contains("No space left") {
                problem.remedy(crate::error::DISK_FULL)
            } else {
                problem
            });
        }
        self.create_database(&half).await?;
        fs::rename(&half, &self.data).context(|| format!("Could not create {}", self.data.display()))
    }

    /// Creates the database in single-user mode: no port, no client program.
    async fn create_database(&self, data: &std::path::Path) -> Result<()> {
        use tokio::io::AsyncWriteExt as _;
        let failed = || "PostgreSQL could not create the database";
        let mut command = tokio::process::Command::new(self.bin.join("postgres"));
        command
            .args(["--single", "-D"])
            .arg(data)
            .arg("postgres")
            .env_clear()
            .envs(environment())
            .current_dir(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(user) = postgres_user() {
            command.uid(user).gid(user);
        }
        let mut child = command.spawn().context(failed)?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(format!("CREATE DATABASE {DATABASE};\n").as_bytes()).await.context(failed)?;
        }
        let output = child.wait_with_output().await.context(failed)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() && !text.contains("ERROR:") {
            return Ok(());
        }
        Err(Problem::new(format!("{}: {}", failed(), text.trim().replace('\n', " / "))))
    }

    /// Connection string of a role with a password of URL-safe characters.
    pub(crate) fn url(&self, role: &str, password: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{DATABASE}", self.port)
    }
}

fn environment() -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    vec![("PATH".into(), path), ("LC_ALL".into(), "C".into()), ("TZ".into(), "UTC".into())]
}
