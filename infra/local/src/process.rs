//! Child processes that never outlive the runner and are stopped in order.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::error::{Context, Problem, Result};

/// The signal that makes a child end gently.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gently {
    /// Save and end (emulator, model server).
    Terminate,
    /// PostgreSQL's "fast" shutdown: it does not wait for its clients.
    Interrupt,
}

impl Gently {
    const fn signal(self) -> Signal {
        match self {
            Self::Terminate => Signal::TERM,
            Self::Interrupt => Signal::INT,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
        }
    }
}

/// What to run.
#[derive(Debug)]
pub(crate) struct Spec<'a> {
    /// Name for messages and for the log file.
    pub name: &'static str,
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Its working folder.
    pub folder: &'a Path,
    /// Where its output is appended.
    pub log: &'a Path,
    /// How it is asked to end.
    pub gently: Gently,
    /// The user to run as, when the runner is root and the program refuses root.
    pub user: Option<u32>,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    child: Child,
    gently: Gently,
    log: std::path::PathBuf,
}

impl Service {
    /// Starts a child. On Linux it receives the same gentle signal when the runner dies, however the runner dies.
    pub(crate) fn start(spec: Spec<'_>) -> Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(spec.log)
            .context(|| format!("Could not open {}", spec.log.display()))?;
        let errors = log.try_clone().context(|| format!("Could not open {}", spec.log.display()))?;
        let mut command = if has_setpriv() {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", spec.gently.name(), "--"]).arg(spec.program);
            command
        } else {
            Command::new(spec.program)
        };
        command
            .args(&spec.arguments)
            .env_clear()
            .envs(spec.environment)
            .current_dir(spec.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        // A group of its own: Ctrl-C in the terminal must reach only the runner, which then stops its children in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        if let Some(user) = spec.user {
            std::os::unix::process::CommandExt::uid(&mut command, user);
            std::os::unix::process::CommandExt::gid(&mut command, user);
        }
        let child = spawn(command)
            .context(|| format!("Could not start {} ({})", spec.name, spec.program.display()))?;
        Ok(Self { name: spec.name, child, gently: spec.gently, log: spec.log.to_owned() })
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until `ready` says yes; fails when the child ends first or the time is up, quoting the end of its log.
    pub(crate) async fn wait_until<F, R>(&mut self, limit: Duration, mut ready: F) -> Result<()>
    where
        F: FnMut() -> R,
        R: Future<Output = bool>,
    {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Err(Problem::new(format!(
                    "{} ended at start ({status}): {}",
                    self.name,
                    tail(&self.log)
                ))
                .remedy(format!("Its log is {}.", self.log.display())));
            }
            if ready().await {
                return Ok(());
            }
            if started.elapsed() > limit {
                return Err(Problem::new(format!("{} was not ready after {} s", self.name, limit.as_secs()))
                    .remedy(format!("Its log is {}.", self.log.display())));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Asks it to end, waits, and ends it by force when it does not.
    pub(crate) async fn stop(&mut self, patience: Duration) {
        if self.ended().is_some() {
            return;
        }
        if let Some(pid) = pid(self.child.id()) {
            // It may have ended this very moment: then there is nobody to signal.
            let _gone = kill_process(pid, self.gently.signal());
        }
        let started = Instant::now();
        while started.elapsed() < patience {
            if self.ended().is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
    }

    /// Ends it by force.
    pub(crate) fn kill(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Starts every child from one thread that lives as long as the process. The parent-death signal is tied to the
/// *thread* that started the child, and the threads of a runtime or of a test come and go.
fn spawn(command: Command) -> std::io::Result<Child> {
    type Request = (Command, mpsc::Sender<std::io::Result<Child>>);
    static KEEPER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                let _caller_gone = answer.send(command.spawn());
            }
        });
        sender
    });
    let gone = || std::io::Error::other("the thread that starts processes has ended");
    let (answer, result) = mpsc::channel();
    keeper.send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

/// Whether util-linux's `setpriv` is here and knows the parent-death signal.
fn has_setpriv() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// Whether a process of that id exists.
pub(crate) fn is_alive(id: u32) -> bool {
    pid(id).is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

/// Asks a process that is not our child to end.
pub(crate) fn terminate(id: u32) -> bool {
    pid(id).is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok())
}

/// The last lines of a log, on one line.
pub(crate) fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    lines.into_iter().rev().map(str::trim).collect::<Vec<_>>().join(" / ")
}
