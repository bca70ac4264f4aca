//! End-to-end tests: one local stack of their own (own ports, own folder), started before and stopped after them.
//!
//! Everything is real: PostgreSQL, the emulator's services, the functions' binaries. Only the model service misbehaves
//! on demand, because it is not ours. Tests run side by side, each in a tenant of its own; those that make the shared
//! model service misbehave, or kill a function, run alone (see [`app::App::alone`]).

#![expect(
    missing_debug_implementations,
    clippy::indexing_slicing,
    reason = "a test binary: nobody prints its types, and a missing field of JSON is a failed test"
)]

mod app;
mod auth;
mod chat;
mod client;
mod files;
mod journey;
mod misfortune;
mod platform;
mod tenants;

use app::App;
use docuchat_local::{Home, Stack, StackOptions};
use libtest_mimic::{Arguments, Failed, Trial};
use std::{
    future::Future,
    process::ExitCode,
    sync::{Arc, OnceLock},
};
use tokio::runtime::Runtime;

/// What a test returns: any error fails it with its text.
pub type TestResult = Result<(), Failed>;

/// Collects tests; the stack is started when the first one runs.
pub struct Suite {
    runtime: Arc<Runtime>,
    app: Arc<OnceLock<Result<Arc<App>, String>>>,
    trials: Vec<Trial>,
}

impl Suite {
    /// Adds a test that may run beside others.
    pub fn add<F, T>(&mut self, name: &str, test: T)
    where
        T: Fn(Arc<App>) -> F + Send + 'static,
        F: Future<Output = TestResult> + Send + 'static,
    {
        self.trial(name, move |app| {
            let future = test(Arc::clone(&app));
            async move {
                let _beside_others = app.beside_others().await;
                future.await
            }
        });
    }

    /// Adds a test that disturbs what all share, and so runs alone.
    pub fn add_alone<F, T>(&mut self, name: &str, test: T)
    where
        T: Fn(Arc<App>) -> F + Send + 'static,
        F: Future<Output = TestResult> + Send + 'static,
    {
        self.trial(name, move |app| {
            let future = test(Arc::clone(&app));
            async move {
                let _alone = app.alone().await;
                // Also before: a test that panicked left its faults behind.
                app.models_behave().await?;
                let result = future.await;
                app.models_behave().await?;
                result
            }
        });
    }

    fn trial<F, T>(&mut self, name: &str, test: T)
    where
        T: Fn(Arc<App>) -> F + Send + 'static,
        F: Future<Output = TestResult> + Send + 'static,
    {
        let (runtime, app) = (Arc::clone(&self.runtime), Arc::clone(&self.app));
        self.trials.push(Trial::test(name, move || {
            let app = app.get_or_init(|| runtime.block_on(start()).map(Arc::new)).clone()?;
            // A task of its own, so that a panic of one assertion is that test's failure and nothing else's.
            runtime.block_on(async move { tokio::spawn(test(app)).await })?
        }));
    }
}

async fn start() -> Result<App, String> {
    let home = Home::find().map_err(|problem| problem.to_string())?;
    let mut options = StackOptions::free("tests").map_err(|problem| problem.to_string())?;
    let state = home.stack("tests");
    if state.exists() {
        std::fs::remove_dir_all(&state).map_err(|e| format!("cannot clear {}: {e}", state.display()))?;
    }
    // Short leases, so that a killed worker is noticed within a test's patience.
    options.parameters.insert("IngestLeaseSeconds".into(), "10".into());
    // Every call of a function is checked against its role: the template's permissions are tested as well.
    options.enforce_iam = true;
    let stack = Stack::start(&home, options).await.map_err(|problem| problem.to_string())?;
    Ok(App::new(stack))
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests wait more than they compute.
    arguments.test_threads.get_or_insert(4);
    let runtime = match Runtime::new() {
        Ok(runtime) => Arc::new(runtime),
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let app = Arc::new(OnceLock::new());
    let mut suite = Suite { runtime: Arc::clone(&runtime), app: Arc::clone(&app), trials: Vec::new() };
    platform::add(&mut suite);
    journey::add(&mut suite);
    auth::add(&mut suite);
    files::add(&mut suite);
    chat::add(&mut suite);
    tenants::add(&mut suite);
    misfortune::add(&mut suite);
    let conclusion = libtest_mimic::run(&arguments, suite.trials);
    if let Some(Ok(app)) = app.get() {
        runtime.block_on(app.stop());
    }
    conclusion.exit_code()
}
