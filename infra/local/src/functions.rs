//! Builds the functions and packages those that changed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    error::{Context, Problem, Result, create_folder, read_if_present, write_file},
    home::Home,
    report::Report,
    setup::sha256_of,
};

/// A zipped function.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Name of the binary.
    pub name: String,
    /// SHA-256 of the binary, in hexadecimal: it names the package.
    pub sha256: String,
    /// The zip file with the one member `bootstrap`.
    pub file: PathBuf,
}

/// Builds every binary of the workspace with the same profile and the same selection as `cargo local` and `cargo test`,
/// so that nothing is compiled twice, and gives the path of each by name. Cargo's own messages pass through.
pub fn build(home: &Home) -> Result<BTreeMap<String, PathBuf>> {
    build_with(home, &[])
}

/// Builds them with the release profile, as they are deployed to AWS: minutes, and only for measuring.
pub fn build_release(home: &Home) -> Result<BTreeMap<String, PathBuf>> {
    build_with(home, &["--release"])
}

/// The size in bytes of a function's package as it is uploaded.
pub fn zipped_size(binary: &Path) -> Result<u64> {
    let failed = || format!("Could not package {}", binary.display());
    let folder = tempfile::tempdir().context(failed)?;
    let file = folder.path().join("package.zip");
    zip_bootstrap(binary, &file, 9)?;
    Ok(file.metadata().context(failed)?.len())
}

fn build_with(home: &Home, options: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .args(["build", "--bins", "--message-format=json-render-diagnostics"])
        .args(options)
        .current_dir(home.project())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context(|| "Could not run cargo")?;
    let mut binaries = BTreeMap::new();
    for line in child.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
        let line = line.context(|| "Could not read what cargo wrote")?;
        if let Some((name, path)) = executable(&line) {
            binaries.insert(name, path);
        }
    }
    let status = child.wait().context(|| "Could not wait for cargo")?;
    if status.success() {
        Ok(binaries)
    } else {
        Err(Problem::new("The functions could not be built").remedy("Cargo's messages above say why."))
    }
}

/// The binary that a line of cargo's JSON messages announces.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let target = message.get("target")?;
    let is_binary = target.get("kind")?.as_array()?.iter().any(|kind| kind == "bin");
    let path = message.get("executable")?.as_str()?;
    is_binary.then(|| Some((target.get("name")?.as_str()?.to_owned(), PathBuf::from(path))))?
}

/// Packages the named binaries. A binary whose content did not change keeps the package it has.
pub(crate) fn package(
    home: &Home,
    binaries: &BTreeMap<String, PathBuf>,
    names: &[String],
    report: Report,
) -> Result<Vec<Package>> {
    let folder = home.packages();
    create_folder(&folder)?;
    let mut packages = Vec::new();
    let mut step = None;
    for name in names {
        let binary = binaries.get(name).ok_or_else(|| {
            Problem::new(format!(
                "template.yaml names the binary {name}, but no package of the workspace builds it"
            ))
        })?;
        let sha256 = known_hash(&folder, name, binary)?;
        let file = folder.join(format!("{name}-{}.zip", sha256.get(..16).unwrap_or(&sha256)));
        if !file.exists() {
            let step = step.get_or_insert_with(|| report.step("Packaging functions"));
            step.detail(name);
            remove_older(&folder, name);
            // Fast, because it happens before every start that follows a change.
            zip_bootstrap(binary, &file, 1)?;
        }
        packages.push(Package { name: name.clone(), sha256, file });
    }
    if let Some(step) = step {
        step.done();
    }
    Ok(packages)
}

/// The hash of a binary; computed only when its size or time of change is not what it was.
fn known_hash(folder: &Path, name: &str, binary: &Path) -> Result<String> {
    let failed = || format!("Could not read {}", binary.display());
    let metadata = binary.metadata().context(failed)?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let key =
        format!("{} {} {}", binary.display(), metadata.len(), changed.map_or(0, |time| time.as_nanos()));
    let note = folder.join(format!("{name}.hash"));
    if let Some((sha256, _)) = read_if_present(&note)?
        .as_deref()
        .and_then(|text| text.split_once('\n'))
        .filter(|(_, known)| *known == key)
    {
        return Ok(sha256.to_owned());
    }
    let sha256 = sha256_of(binary).context(failed)?;
    write_file(&note, format!("{sha256}\n{key}").as_bytes())?;
    Ok(sha256)
}

/// Keeps the packages of a function to the newest few: several stacks may be at different versions.
fn remove_older(folder: &Path, name: &str) {
    let mut packages: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let file = entry.file_name().to_string_lossy().into_owned();
            file.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-'))
                .and_then(|rest| rest.strip_suffix(".zip"))
                .is_some_and(|hash| hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()))
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    packages.sort();
    packages.reverse();
    for (_, path) in packages.into_iter().skip(2) {
        let _kept = fs::remove_file(path);
    }
}

fn zip_bootstrap(binary: &Path, file: &Path, level: i64) -> Result<()> {
    let failed = || format!("Could not package {}", binary.display());
    let folder = file.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::NamedTempFile::new_in(folder).context(failed)?;
    let mut archive = zip::ZipWriter::new(temporary);
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated)
        .compression_level(Some(level))
        .unix_permissions(0o755);
    archive.start_file("bootstrap", options).context(failed)?;
    let mut source = File::open(binary).context(failed)?;
    std::io::copy(&mut source, &mut archive).context(failed)?;
    let mut temporary = archive.finish().context(failed)?;
    temporary.flush().context(failed)?;
    temporary.persist(file).context(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_messages_name_the_binaries() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"files-get"},"executable":"/t/files-get"}"#;
        assert_eq!(executable(line), Some(("files-get".into(), PathBuf::from("/t/files-get"))));
        let library =
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"x"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable("not json"), None);
    }

    #[test]
    fn a_package_holds_an_executable_bootstrap() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("files-get");
        fs::write(&binary, b"program").unwrap();
        let file = folder.path().join("files-get-0123456789abcdef.zip");
        zip_bootstrap(&binary, &file, 1).unwrap();
        let mut archive = zip::ZipArchive::new(File::open(&file).unwrap()).unwrap();
        let member = archive.by_name("bootstrap").unwrap();
        assert_eq!(member.unix_mode().map(|mode| mode & 0o777), Some(0o755));
    }

    #[test]
    fn the_hash_follows_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("x");
        fs::write(&binary, b"one").unwrap();
        let first = known_hash(folder.path(), "x", &binary).unwrap();
        assert_eq!(first, known_hash(folder.path(), "x", &binary).unwrap());
        fs::write(&binary, b"other").unwrap();
        assert_ne!(first, known_hash(folder.path(), "x", &binary).unwrap());
    }

    #[test]
    fn old_packages_go() {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..5 {
            fs::write(folder.path().join(format!("a-000000000000000{index}.zip")), b"").unwrap();
        }
        fs::write(folder.path().join("a-b-0000000000000000.zip"), b"").unwrap();
        remove_older(folder.path(), "a");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
