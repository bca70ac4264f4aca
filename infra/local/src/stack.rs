//! One local stack: PostgreSQL, the AWS emulator, the model server and the front door, with template.yaml deployed.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cloud::{Cloud, Deployed},
    error::{Context, Problem, Result, create_folder, write_file},
    front_door::{Address, FrontDoor, Upstream},
    functions::{self, Package},
    home::Home,
    models::Models,
    ports::Ports,
    postgres::APP_PASSWORD,
    report::Report,
    running::{Running, is_locked, lock},
    secrets::Secrets,
    services::{Addresses, Launch, Services, require_ports},
    setup::setup,
    template,
    tenant::{self, DEMO_TENANT, SignUp},
};

/// What to start.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// Name of the stack's folder under `.local/stack`.
    pub name: String,
    /// Its ports.
    pub ports: Ports,
    /// Which models.
    pub models: Models,
    /// The template; none for the project's own.
    pub template: Option<PathBuf>,
    /// Parameters of the template that replace what the runner would give, for example a short `IngestLeaseSeconds`.
    pub parameters: BTreeMap<String, String>,
    /// A database that the user runs, as its owner, in place of our own PostgreSQL.
    pub database_url: Option<String>,
    /// Whether the emulator checks every call of a function against its role's policies.
    pub enforce_iam: bool,
    /// Origins that the front door lets in; `*` stands for any port.
    pub cors_origins: Vec<String>,
    /// Where progress goes.
    pub report: Report,
}

impl StackOptions {
    /// The stack of `cargo local`: fixed ports, models from the environment.
    pub fn fixed(report: Report) -> Result<Self> {
        Ok(Self {
            name: "main".to_owned(),
            ports: Ports::default(),
            models: Models::from_env()?,
            template: None,
            parameters: PARAMETER_VARIABLES
                .iter()
                .filter_map(|(parameter, variable)| Some(((*parameter).to_owned(), variable_of(variable)?)))
                .collect(),
            database_url: variable_of("DATABASE_URL"),
            enforce_iam: false,
            cors_origins: local_origins(),
            report,
        })
    }

    /// A stack for tests: free ports, our own model server, its own folder.
    pub fn free(name: &str) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            ports: Ports::free()?,
            models: Models::local(),
            template: None,
            parameters: BTreeMap::new(),
            database_url: None,
            enforce_iam: false,
            cors_origins: local_origins(),
            report: Report::Lines,
        })
    }
}

/// Parameters of the template that a developer may change through the variable that the functions know them by.
const PARAMETER_VARIABLES: [(&str, &str); 8] = [
    ("AccessTokenSeconds", "ACCESS_TOKEN_SECONDS"),
    ("CorsOrigins", "CORS_ORIGINS"),
    ("IngestLeaseSeconds", "INGEST_LEASE_SECONDS"),
    ("LogLevel", "LOG_LEVEL"),
    ("MailFrom", "MAIL_FROM"),
    ("MaxContextTokens", "MAX_CONTEXT_TOKENS"),
    ("RelevanceThreshold", "RELEVANCE_THRESHOLD"),
    ("TopK", "TOP_K"),
];

fn variable_of(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn local_origins() -> Vec<String> {
    vec!["http://localhost:*".to_owned(), "http://127.0.0.1:*".to_owned()]
}

/// A running stack. [`Stack::stop`] stops it in order; when it is only dropped, or the process dies, its children
/// receive their gentle signals from the system (Linux).
#[derive(Debug)]
pub struct Stack {
    running: Running,
    cloud: Cloud,
    front_door: FrontDoor,
    services: Services,
    state: PathBuf,
    _lock: File,
}

impl Stack {
    /// Sets up what is missing, builds the functions, starts everything and deploys template.yaml.
    pub async fn start(home: &Home, options: StackOptions) -> Result<Self> {
        let state = home.stack(&options.name);
        create_folder(&state.join("logs"))?;
        let lock = lock(&state)?;
        options.models.check(&state)?;
        require_ports(&options, &state).await?;
        let report = options.report;

        let tools = {
            let home = home.clone();
            blocking(move || setup(&home, report)).await?
        };
        let template = options.template.clone().unwrap_or_else(|| home.project().join("template.yaml"));
        let template = std::fs::read_to_string(&template)
            .context(|| format!("Could not read {}", template.display()))?;
        let (binaries, packages) = {
            let names: Vec<_> =
                template::functions(&template)?.into_iter().map(|function| function.binary).collect();
            let home = home.clone();
            blocking(move || {
                let binaries = functions::build(&home)?;
                let packages = functions::package(&home, &binaries, &names, report)?;
                Ok((binaries, packages))
            })
            .await?
        };

        let launch = Launch { home, options: &options, state: &state, tools: &tools, binaries: &binaries };
        let step = report.step("Starting PostgreSQL, the AWS emulator and the model server");
        let mut services = launch.start().await?;
        step.done();
        let cloud = Cloud::new(&launch.emulator_url());
        let deployment = Deployment {
            options: &options,
            state: &state,
            template: &template,
            packages: &packages,
            secrets: Secrets::of(&state)?,
            addresses: services.addresses.clone(),
            emulator_url: launch.emulator_url(),
        };
        let step = report.step("Deploying template.yaml");
        let opened = async {
            let mut deployed = deployment.deploy(&cloud).await?;
            if !cloud.missing_tables(&deployed.outputs).await.is_empty() {
                // The emulator saves its tables only when it is stopped gently. What a crash left of its state is of
                // no use without them, and would be in the way of new ones.
                report.note("The AWS emulator has lost tables in a crash: its data is made anew.");
                services.emulator.stop(Duration::from_mins(1)).await;
                let folder = state.join("emulator");
                std::fs::remove_dir_all(&folder)
                    .context(|| format!("Could not delete {}", folder.display()))?;
                services.emulator = launch.emulator().await?;
                deployed = deployment.deploy(&cloud).await?;
            }
            deployment.open(&cloud, deployed, services.ids()).await
        };
        let (front_door, running) = match opened.await {
            Ok(opened) => opened,
            Err(problem) => {
                drop(step);
                services.stop().await;
                return Err(problem);
            }
        };
        step.done();
        options.models.record(&state)?;
        let text = serde_json::to_string_pretty(&running).context(|| "running.json cannot be written")?;
        write_file(&state.join("running.json"), text.as_bytes())?;
        Ok(Self { running, cloud, front_door, services, state, _lock: lock })
    }

    /// Where everything is.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// AWS clients of this stack.
    #[must_use]
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// Waits until one of the children ends, which it should not, and says which.
    pub async fn watch(&mut self) -> Problem {
        loop {
            if let Some((name, status, log)) = self.services.ended() {
                return Problem::new(format!("{name} ended unexpectedly ({status})")).remedy(format!(
                    "{} says why; `cargo local` starts everything again.",
                    self.running.logs.join(log).display()
                ));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Ends the model server as a crash would (tests).
    pub fn kill_models(&mut self) {
        if let Some(models) = &mut self.services.models {
            models.kill();
        }
    }

    /// Ends the emulator as a crash would (tests).
    pub fn kill_emulator(&mut self) {
        self.services.emulator.kill();
    }

    /// Stops everything in order: the door, the emulator with its functions (which saves its state), then what the
    /// functions used.
    pub async fn stop(mut self) {
        self.front_door.stop().await;
        self.services.stop().await;
        let _gone = std::fs::remove_file(self.state.join("running.json"));
    }
}

/// Deletes the data of a stack that is not running.
pub fn delete_stack(home: &Home, name: &str) -> Result<()> {
    let state = home.stack(name);
    if is_locked(&state) {
        return Err(Problem::new("This stack is running").remedy("Stop it with `cargo local down`."));
    }
    for folder in [home.for_postgres().join("stack").join(name), state] {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Problem::caused(format!("Could not delete {}", folder.display()), &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Runs blocking work off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context(|| "A step of the start was broken off")?
}

/// What is deployed, and with what.
struct Deployment<'a> {
    options: &'a StackOptions,
    state: &'a Path,
    template: &'a str,
    packages: &'a [Package],
    secrets: Secrets,
    addresses: Addresses,
    emulator_url: String,
}

impl Deployment<'_> {
    /// Uploads the packages that changed and brings the CloudFormation stack up to date.
    async fn deploy(&self, cloud: &Cloud) -> Result<Deployed> {
        let addresses = cloud.upload(self.packages).await?;
        let template = template::with_packages(self.template, |binary| {
            addresses.get(binary).cloned().ok_or_else(|| Problem::new(format!("{binary} was not packaged")))
        })?;
        cloud.deploy(&template, &self.parameters()).await
    }

    /// Values for the parameters that the template declares.
    fn parameters(&self) -> BTreeMap<String, String> {
        let mut parameters = self.options.models.parameters(&self.addresses.models);
        let own = [
            ("Stage", "local".to_owned()),
            ("DatabaseMode", "url".to_owned()),
            ("DatabaseUrl", self.addresses.database.clone()),
            ("DatabaseAdminUrl", self.addresses.database_admin.clone()),
            ("DatabaseAppPassword", APP_PASSWORD.to_owned()),
            ("TokenSecrets", format!("local:{}", self.secrets.token)),
            ("CodeSecret", self.secrets.code.clone()),
            ("LocalCallbackUrl", format!("{}/_aws/execute-api", self.emulator_url)),
            ("MailFrom", "no-reply@docuchat.example".to_owned()),
            // The front door decides which origins may call; uploads go to the emulator itself.
            ("CorsOrigins", "*".to_owned()),
            ("IngestMaximumConcurrency", "2".to_owned()),
            ("Monitoring", "false".to_owned()),
        ];
        parameters.extend(own.map(|(name, value)| (name.to_owned(), value)));
        parameters.extend(self.options.parameters.clone());
        let declared = template::parameters(self.template);
        parameters.retain(|name, _| declared.contains(name));
        parameters
    }

    /// Migrates the index, seeds the demo tenant and opens the front door.
    async fn open(
        &self,
        cloud: &Cloud,
        deployed: Deployed,
        children: Vec<u32>,
    ) -> Result<(FrontDoor, Running)> {
        let emulator_url = self.emulator_url.clone();
        let rest = Address::of(deployed.outputs.get("RestApiUrl").map_or("", String::as_str))?;
        let websocket = Address::of(deployed.outputs.get("WebSocketUrl").map_or("", String::as_str))?;
        let port = self.options.ports.front_door;
        let running = Running {
            process: std::process::id(),
            children,
            rest_url: format!("http://127.0.0.1:{port}"),
            websocket_url: format!("ws://127.0.0.1:{port}/ws/chat"),
            mailbox_url: format!("http://127.0.0.1:{port}/_local/mail"),
            emulator_rest_url: format!("{emulator_url}{}", rest.path()),
            emulator_websocket_url: format!("{}{}", emulator_url.replacen("http", "ws", 1), websocket.path()),
            emulator_url,
            models_url: self.addresses.models.clone(),
            database_admin_url: self.addresses.database_admin.clone(),
            logs: self.state.join("logs"),
            outputs: deployed.outputs,
            resources: deployed.resources,
        };
        let models = &self.options.models;
        let payload =
            serde_json::json!({"dimensions": models.dimensions, "embed_model": models.embedding_model});
        cloud.invoke(running.function("index-migrate")?, &payload).await?;
        tenant::add(cloud, running.output("IdentityTableName")?, DEMO_TENANT, "Demo", &SignUp::Open).await?;
        let upstream = Upstream {
            emulator_port: self.options.ports.emulator,
            rest: rest.path(),
            websocket: websocket.path(),
            cors_origins: self.options.cors_origins.clone(),
            running: running.clone(),
        };
        let front_door = FrontDoor::open(port, upstream).await?;
        Ok((front_door, running))
    }
}
