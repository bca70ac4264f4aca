//! Real parts for the tests of single crates: a PostgreSQL with pgvector, and the weights of the local model.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::sync::OnceCell;

use crate::{
    error::{Problem, Result, create_folder},
    home::Home,
    ports::Ports,
    postgres::{OWNER, OWNER_PASSWORD, Postgres},
    process::{Service, is_alive},
    report::Report,
    setup::setup,
};

/// A server that lives as long as this process.
struct Server {
    url: String,
    _service: Service,
}

/// Connection string of a PostgreSQL with pgvector, as its superuser. The first call in a process starts the server; it
/// is stopped when the process ends. `DOCUCHAT_TEST_DATABASE_ADMIN_URL` names another one.
pub async fn database_url() -> Result<String> {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    if let Ok(url) = std::env::var("DOCUCHAT_TEST_DATABASE_ADMIN_URL")
        && !url.is_empty()
    {
        return Ok(url);
    }
    Ok(SERVER.get_or_try_init(start).await?.url.clone())
}

async fn start() -> Result<Server> {
    let home = Home::find()?;
    let tools = tools(&home).await?;
    let base = home.for_postgres().join("tests");
    create_folder(&base)?;
    remove_left_overs(&base);
    let folder = base.join(format!("postgres-{}", std::process::id()));
    create_folder(&folder)?;
    home.let_postgres_pass(&folder)?;
    let postgres = Postgres {
        bin: tools.postgres_bin,
        data: folder.join("data"),
        log: folder.join("postgres.log"),
        port: Ports::free()?.postgres,
    };
    let service = postgres.start().await?;
    Ok(Server { url: postgres.url(OWNER, OWNER_PASSWORD), _service: service })
}

/// Removes the data of servers whose process is gone: nothing runs at the end of a test process that could.
fn remove_left_overs(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix("postgres-").and_then(|id| id.parse().ok());
        if process.is_some_and(|id| !is_alive(id)) {
            // What cannot be removed now is tried again next time.
            let _kept = fs::remove_dir_all(entry.path());
        }
    }
}

/// File of the local embedding model's weights; fetched when it is not there yet. `DOCUCHAT_E5_WEIGHTS` names another.
pub fn weights() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("DOCUCHAT_E5_WEIGHTS").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    Ok(setup(&Home::find()?, Report::Lines)?.weights)
}

async fn tools(home: &Home) -> Result<crate::setup::Tools> {
    let home = home.clone();
    tokio::task::spawn_blocking(move || setup(&home, Report::Lines))
        .await
        .map_err(|_| Problem::new("The set-up was broken off"))?
}
