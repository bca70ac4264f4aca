//! The command line: one module per subcommand.

mod bench;
mod demo;
mod down;
mod logs;
mod reset;
mod start;
mod tenant;

use clap::{Args, Parser, Subcommand};
use docuchat_local::{Home, Models, Ports, Problem, Result, StackOptions, report::Report};

/// DocuChat on this machine: PostgreSQL, an emulator of the AWS services, a model server and a front door, with
/// template.yaml deployed. Without a subcommand it starts all that and stays until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "cargo local", bin_name = "cargo local", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    stack: StackArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Download, check and unpack what the stack needs, and start nothing.
    Setup,
    /// Do the whole main job as an outside client: sign in, upload a PDF, ask about it, show the answer and its sources.
    Demo(demo::Arguments),
    /// Measure start-up, ingestion, answers and search, and print a table.
    Bench(bench::Arguments),
    /// Stop a running stack from another terminal.
    Down,
    /// Show the log of a function, or where all logs are.
    Logs(logs::Arguments),
    /// Stop the stack and delete its data (documents, users, index); downloads stay.
    Reset(reset::Arguments),
    /// Tenants of the running stack.
    #[command(subcommand)]
    Tenant(tenant::Command),
}

/// Which stack, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct StackArguments {
    /// Name of the stack: each has its own data and needs its own ports.
    #[arg(long, global = true, default_value = "main", env = "DOCUCHAT_STACK", value_parser = stack_name)]
    stack: String,
    /// Port of the front door.
    #[arg(long, global = true, default_value_t = Ports::default().front_door, env = "DOCUCHAT_PORT")]
    port: u16,
    /// Port of the AWS emulator.
    #[arg(long, global = true, default_value_t = Ports::default().emulator, env = "DOCUCHAT_EMULATOR_PORT")]
    emulator_port: u16,
    /// Port of PostgreSQL.
    #[arg(long, global = true, default_value_t = Ports::default().postgres, env = "DOCUCHAT_POSTGRES_PORT")]
    postgres_port: u16,
    /// Port of the model server.
    #[arg(long, global = true, default_value_t = Ports::default().models, env = "DOCUCHAT_MODELS_PORT")]
    models_port: u16,
    /// Let the emulator check every call of a function against its role's policies, as AWS does.
    #[arg(long, global = true, env = "DOCUCHAT_ENFORCE_IAM")]
    enforce_iam: bool,
    /// Origin whose pages may call the front door; may be given several times. `:*` at the end stands for any port.
    #[arg(long, global = true, env = "DOCUCHAT_ORIGINS", value_delimiter = ',')]
    origin: Vec<String>,
}

/// The name becomes a folder.
fn stack_name(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits { Ok(text.to_owned()) } else { Err("1 to 32 lower-case letters, digits and hyphens".to_owned()) }
}

impl StackArguments {
    fn options(&self, report: Report) -> Result<StackOptions> {
        let mut options = StackOptions::fixed(report)?;
        options.name.clone_from(&self.stack);
        options.models = Models::from_env()?;
        options.ports = Ports {
            front_door: self.port,
            emulator: self.emulator_port,
            postgres: self.postgres_port,
            models: self.models_port,
        };
        options.enforce_iam = self.enforce_iam;
        if !self.origin.is_empty() {
            options.cors_origins.clone_from(&self.origin);
        }
        Ok(options)
    }
}

impl Arguments {
    pub(crate) async fn run(self) -> Result<()> {
        let home = Home::find()?;
        let report = Report::detect();
        match self.command {
            None => start::run(&home, self.stack.options(report)?).await,
            Some(Command::Setup) => {
                tokio::task::spawn_blocking(move || docuchat_local::setup(&home, report))
                    .await
                    .map_err(|_| Problem::new("The set-up was broken off"))??;
                report.note("Everything is there: `cargo local` starts the stack.");
                Ok(())
            }
            Some(Command::Demo(arguments)) => demo::run(&home, self.stack.options(report)?, arguments).await,
            Some(Command::Bench(arguments)) => {
                bench::run(&home, self.stack.options(report)?, arguments).await
            }
            Some(Command::Down) => down::run(&home, &self.stack.stack).await,
            Some(Command::Logs(arguments)) => logs::run(&home, &self.stack.stack, arguments).await,
            Some(Command::Reset(arguments)) => reset::run(&home, &self.stack.stack, &arguments).await,
            Some(Command::Tenant(command)) => tenant::run(&home, &self.stack.stack, command).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_stack_name_cannot_leave_its_folder() {
        assert!(stack_name("main-2").is_ok());
        for name in ["", "..", "a/b", "A"] {
            assert!(stack_name(name).is_err(), "{name}");
        }
    }
}
