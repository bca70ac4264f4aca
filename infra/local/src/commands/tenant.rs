//! `cargo local tenant`.

use clap::Subcommand;
use docuchat_local::{
    Home, Problem, Result, Running,
    cloud::Cloud,
    tenant::{self, SignUp},
};

/// What to do with tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a tenant and print its id.
    Add {
        /// Its name.
        name: String,
        /// Who has an address of this domain may sign up; may be given several times.
        #[arg(long, conflicts_with = "open")]
        domain: Vec<String>,
        /// Anybody may sign up.
        #[arg(long)]
        open: bool,
    },
}

/// Labels of letters, digits and hyphens with dots between them.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    };
    text.contains('.') && text.split('.').all(label)
}

pub(super) async fn run(home: &Home, stack: &str, command: Command) -> Result<()> {
    let running = Running::find(&home.stack(stack))?.ok_or_else(|| {
        Problem::new("Nothing is running").remedy("Start it with `cargo local` in another terminal.")
    })?;
    let Command::Add { name, domain, open } = command;
    if name.trim().is_empty() {
        return Err(Problem::new("A tenant needs a name"));
    }
    if let Some(wrong) = domain.iter().find(|domain| !is_domain(domain)) {
        return Err(
            Problem::new(format!("\"{wrong}\" is not a domain")).remedy("Write it as in example.com.")
        );
    }
    let sign_up = match (open, domain.is_empty()) {
        (true, _) => SignUp::Open,
        (false, false) => SignUp::Domains(domain),
        (false, true) => SignUp::Closed,
    };
    let cloud = Cloud::new(&running.emulator_url);
    let id = tenant::create(&cloud, running.output("IdentityTableName")?, &name, &sign_up).await?;
    println!("{id}");
    Ok(())
}
