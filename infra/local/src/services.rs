//! The processes of a stack: how each is started, and the order in which they stop.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

use crate::{
    cloud::ADMIN_KEY,
    error::{Problem, Result, create_folder, read_if_present},
    home::Home,
    ports::require_free,
    postgres::{APP_PASSWORD, APP_ROLE, OWNER, OWNER_PASSWORD, Postgres},
    process::{self, Gently, Service, Spec},
    running::Running,
    setup::Tools,
    stack::StackOptions,
};

/// The running processes.
#[derive(Debug)]
pub(crate) struct Services {
    /// The AWS emulator, with the functions as its children.
    pub emulator: Service,
    /// PostgreSQL, unless the user runs one.
    pub postgres: Option<Service>,
    /// Our model server, unless the environment names a service.
    pub models: Option<Service>,
    /// Addresses of what runs, or of what takes its place.
    pub addresses: Addresses,
}

/// What the functions connect to.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// The database as the role of the index functions.
    pub database: String,
    /// The database as its owner.
    pub database_admin: String,
    /// Base URL of the models.
    pub models: String,
}

impl Services {
    /// Process ids.
    pub(crate) fn ids(&self) -> Vec<u32> {
        [Some(&self.emulator), self.postgres.as_ref(), self.models.as_ref()]
            .into_iter()
            .flatten()
            .map(Service::id)
            .collect()
    }

    /// The first that ended by itself: its name, how it ended, and its log.
    pub(crate) fn ended(&mut self) -> Option<(&'static str, ExitStatus, &'static str)> {
        [
            ("The AWS emulator", Some(&mut self.emulator), "emulator.log"),
            ("PostgreSQL", self.postgres.as_mut(), "postgres.log"),
            ("The model server", self.models.as_mut(), "models.log"),
        ]
        .into_iter()
        .find_map(|(name, service, log)| Some((name, service?.ended()?, log)))
    }

    /// Stops the emulator with its functions, then what the functions used.
    pub(crate) async fn stop(&mut self) {
        // The emulator writes its state when it ends: give it time.
        self.emulator.stop(Duration::from_mins(1)).await;
        for service in [self.models.as_mut(), self.postgres.as_mut()].into_iter().flatten() {
            service.stop(Duration::from_secs(30)).await;
        }
    }
}

/// Fails when a port is taken, before minutes are spent on building.
pub(crate) async fn require_ports(options: &StackOptions, state: &Path) -> Result<()> {
    // A runner that was killed leaves children that are still saving their state: wait for those.
    let left_over = read_if_present(&state.join("running.json"))?
        .and_then(|text| serde_json::from_str::<Running>(&text).ok())
        .map(|running| running.children)
        .unwrap_or_default();
    let started = Instant::now();
    while left_over.iter().any(|child| process::is_alive(*child))
        && started.elapsed() < Duration::from_secs(20)
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ports = options.ports;
    require_free(ports.front_door, "the front door", "--port", "DOCUCHAT_PORT")?;
    require_free(ports.emulator, "the AWS emulator", "--emulator-port", "DOCUCHAT_EMULATOR_PORT")?;
    if options.database_url.is_none() {
        require_free(ports.postgres, "PostgreSQL", "--postgres-port", "DOCUCHAT_POSTGRES_PORT")?;
    }
    if options.models.is_local() {
        require_free(ports.models, "the model server", "--models-port", "DOCUCHAT_MODELS_PORT")?;
    }
    Ok(())
}

/// What is needed to start the processes.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The project's folders.
    pub home: &'a Home,
    /// What to start.
    pub options: &'a StackOptions,
    /// The stack's folder.
    pub state: &'a Path,
    /// Unpacked tools.
    pub tools: &'a Tools,
    /// Binaries of the workspace by name.
    pub binaries: &'a BTreeMap<String, PathBuf>,
}

impl Launch<'_> {
    /// Starts all three side by side; when one fails, the others are stopped.
    pub(crate) async fn start(&self) -> Result<Services> {
        let (postgres, emulator, models) =
            tokio::join!(self.postgres(), self.emulator(), self.model_server());
        match (postgres, emulator, models) {
            (Ok((postgres, database_admin, database)), Ok(emulator), Ok((models, models_url))) => {
                Ok(Services {
                    emulator,
                    postgres,
                    models,
                    addresses: Addresses { database, database_admin, models: models_url },
                })
            }
            (postgres, emulator, models) => {
                let mut problem = None;
                for service in [
                    postgres.map(|(service, ..)| service),
                    emulator.map(Some),
                    models.map(|(service, _)| service),
                ] {
                    match service {
                        Ok(Some(mut service)) => service.stop(Duration::from_secs(30)).await,
                        Ok(None) => {}
                        Err(error) => problem = problem.or(Some(error)),
                    }
                }
                Err(problem.unwrap_or_else(|| Problem::new("The stack could not start")))
            }
        }
    }

    /// Endpoint of the emulator.
    pub(crate) fn emulator_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.ports.emulator)
    }

    fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// PostgreSQL's data: beside everything else, unless its user could not reach it there.
    fn postgres_data(&self) -> PathBuf {
        self.home.for_postgres().join("stack").join(&self.options.name).join("postgres")
    }

    /// The server, the owner's connection string, and the application's.
    async fn postgres(&self) -> Result<(Option<Service>, String, String)> {
        if let Some(url) = &self.options.database_url {
            let app = with_login(url, APP_ROLE, APP_PASSWORD)?;
            return Ok((None, url.clone(), app));
        }
        let data = self.postgres_data();
        if let Some(parent) = data.parent() {
            create_folder(parent)?;
            self.home.let_postgres_pass(parent)?;
        }
        let postgres = Postgres {
            bin: self.tools.postgres_bin.clone(),
            data,
            log: self.logs().join("postgres.log"),
            port: self.options.ports.postgres,
        };
        let service = postgres.start().await?;
        let admin = postgres.url(OWNER, OWNER_PASSWORD);
        let app = postgres.url(APP_ROLE, APP_PASSWORD);
        Ok((Some(service), admin, app))
    }

    /// The AWS emulator. It keeps its state in its folder and saves it when it is stopped gently.
    pub(crate) async fn emulator(&self) -> Result<Service> {
        let state = self.state.join("emulator");
        let temporary = state.join("tmp");
        create_folder(&temporary)?;
        let url = self.emulator_url();
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        let text = |path: &Path| path.to_string_lossy().into_owned();
        // The functions inherit all of this, so it is made from nothing.
        let mut environment = vec![
            ("PATH", path),
            ("HOME", text(&temporary)),
            ("TMPDIR", text(&temporary)),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("PYTHONPATH", text(&self.tools.python_path)),
            ("PYTHONUNBUFFERED", "1".to_owned()),
            ("GATEWAY_PORT", self.options.ports.emulator.to_string()),
            ("BIND_HOST", "127.0.0.1".to_owned()),
            ("AWS_ENDPOINT_URL", url.clone()),
            ("PERSIST_STATE", "1".to_owned()),
            ("STATE_DIR", text(&state.join("state"))),
            ("S3_PERSIST", "1".to_owned()),
            ("S3_DATA_DIR", text(&state.join("s3"))),
            ("SFTP_ENABLED", "0".to_owned()),
            ("IOT_MTLS_ENABLED", "0".to_owned()),
        ];
        if self.options.enforce_iam {
            // The runner's own key, which then has the rights of an administrator.
            environment.extend([
                ("AUTH", "true".to_owned()),
                ("AWS_ACCESS_KEY_ID", ADMIN_KEY.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", ADMIN_KEY.to_owned()),
            ]);
        }
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut service = Service::start(Spec {
            name: "The AWS emulator",
            program: &self.tools.python,
            arguments: vec!["-m".to_owned(), "ministack".to_owned()],
            environment,
            folder: &temporary,
            log: &self.logs().join("emulator.log"),
            gently: Gently::Terminate,
            user: None,
        })?;
        wait_for(&mut service, &format!("{url}/_ministack/ready")).await?;
        Ok(service)
    }

    /// Our own model server, or nothing when the environment names a service; and the base URL of either.
    async fn model_server(&self) -> Result<(Option<Service>, String)> {
        let models = &self.options.models;
        if let Some(base_url) = &models.base_url {
            return Ok((None, base_url.clone()));
        }
        let binary = self
            .binaries
            .get("docuchat-model-server")
            .ok_or_else(|| Problem::new("The workspace does not build docuchat-model-server"))?;
        let port = self.options.ports.models;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut service = Service::start(Spec {
            name: "The model server",
            program: binary,
            arguments: vec![
                "--weights".to_owned(),
                self.tools.weights.to_string_lossy().into_owned(),
                "--port".to_owned(),
                port.to_string(),
            ],
            environment: vec![("PATH".to_owned(), path)],
            folder: self.state,
            log: &self.logs().join("models.log"),
            gently: Gently::Terminate,
            user: None,
        })?;
        let base_url = format!("http://127.0.0.1:{port}/v1");
        wait_for(&mut service, &format!("{base_url}/models")).await?;
        Ok((Some(service), base_url))
    }
}

/// The same database with another login.
fn with_login(url: &str, role: &str, password: &str) -> Result<String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        Problem::new("DATABASE_URL is not of the form postgres://user:password@host:port/database")
    })?;
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    Ok(format!("{scheme}://{role}:{password}@{place}"))
}

/// Waits until an address answers with success.
async fn wait_for(service: &mut Service, url: &str) -> Result<()> {
    let http = crate::http::client()?;
    service
        .wait_until(Duration::from_mins(1), || {
            let request = http.get(url).timeout(Duration::from_secs(2)).send();
            async move { request.await.is_ok_and(|answer| answer.status().is_success()) }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_login_keeps_the_place() {
        let url = with_login("postgres://a:b%40@db.example:5432/docuchat?x=1", "app", "p").unwrap();
        assert_eq!(url, "postgres://app:p@db.example:5432/docuchat?x=1");
    }
}
