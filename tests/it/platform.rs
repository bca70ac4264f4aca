//! Health, headers, unknown routes, and the template against the code.

use crate::{Suite, TestResult, app::App};
use reqwest::Method;
use serde_json::json;
use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

pub fn add(suite: &mut Suite) {
    suite.add("platform::health_says_what_works", health);
    suite.add("platform::unknown_routes_are_problems", unknown_routes);
    suite.add("platform::every_response_carries_its_headers", headers);
    suite.add("platform::a_preflight_is_answered", preflight);
    suite.add("platform::migrations_run_twice_harmlessly", migrations);
    suite.add("platform::every_function_has_one_binary_and_the_other_way_round", functions_and_binaries);
    suite.add("platform::only_the_index_functions_know_the_database", only_index_knows_postgres);
}

async fn health(app: Arc<App>) -> TestResult {
    let anyone = app.anonymous();
    let root = anyone.get("/").await?.expect(200)?;
    assert_eq!((&root["name"], &root["status"]), (&json!("DocuChat"), &json!("running")));
    assert_eq!(anyone.get("/healthz").await?.expect(200)?, json!({ "status": "ok" }));
    anyone.get("/health/live").await?.expect(200)?;
    anyone.get("/health/ready").await?.expect(200)?;
    anyone.get("/health/db").await?.expect(200)?;
    anyone.get("/health/detailed").await?.expect(200)?;
    let health = anyone.get("/health").await?.expect(200)?;
    let dependencies = health["dependencies"].as_object().cloned().unwrap_or_default();
    assert!(dependencies.len() >= 4 && dependencies.values().all(|d| d["status"] == "ok"), "{health}");
    Ok(())
}

async fn unknown_routes(app: Arc<App>) -> TestResult {
    let anyone = app.anonymous();
    anyone.get("/v1/nonsense").await?.problem(404, "route_not_found")?;
    anyone.send(Method::PATCH, "/v1/files", |request| request).await?.problem(404, "route_not_found")?;
    Ok(())
}

async fn headers(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    for path in ["/v1/files", "/v1/files/not-an-id"] {
        let answer = member
            .send(Method::GET, path, |request| request.header("origin", "http://localhost:3000"))
            .await?;
        for name in [
            "x-request-id",
            "x-content-type-options",
            "cache-control",
            "strict-transport-security",
            "access-control-allow-origin",
        ] {
            assert!(answer.headers.contains_key(name), "{path} has no {name}");
        }
    }
    Ok(())
}

async fn preflight(app: Arc<App>) -> TestResult {
    let answer = app
        .anonymous()
        .send(Method::OPTIONS, "/v1/files", |request| {
            request
                .header("origin", "http://localhost:3000")
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization,x-tenant-id,content-type")
        })
        .await?;
    assert!(answer.status == 200 || answer.status == 204, "{}", answer.status);
    let allowed = answer
        .headers
        .get("access-control-allow-headers")
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_lowercase();
    assert!(
        ["authorization", "x-tenant-id", "content-type"].iter().all(|name| allowed.contains(name)),
        "{allowed}"
    );
    Ok(())
}

async fn migrations(app: Arc<App>) -> TestResult {
    let settings = json!({ "dimensions": 384, "embed_model": "e5-passage" });
    let answer = app.invoke("index-migrate", &settings).await?;
    assert_eq!(answer["applied"], json!([]), "{answer}");
    let other =
        app.invoke("index-migrate", &json!({ "dimensions": 1536, "embed_model": "e5-passage" })).await;
    assert!(other.is_err(), "another dimension was taken over existing vectors");
    Ok(())
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

async fn functions_and_binaries(_: Arc<App>) -> TestResult {
    let template = fs::read_to_string(project().join("template.yaml"))?;
    let in_template: Vec<&str> =
        template.lines().filter_map(|line| line.trim().strip_prefix("Binary: ")).collect();
    let mut binaries = BTreeSet::new();
    for area in fs::read_dir(project().join("functions"))? {
        for file in fs::read_dir(area?.path().join("src/bin"))? {
            let name = file?.file_name().to_string_lossy().into_owned();
            binaries.insert(name.trim_end_matches(".rs").to_owned());
        }
    }
    assert_eq!(in_template.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), binaries);
    assert_eq!(in_template.len(), binaries.len(), "a function stands twice in the template");
    let readme = fs::read_to_string(project().join("README.md"))?;
    for name in &binaries {
        assert!(readme.contains(&format!("`{name}`")), "the README's table lacks {name}");
    }
    // Every setting of a function is in the README's table.
    let settings = template.lines().filter_map(|line| {
        let name = line.strip_prefix("          ")?.split_once(':')?.0;
        (!name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).then_some(name)
    });
    for name in settings {
        assert!(readme.contains(&format!("`{name}`")), "the README's table of settings lacks {name}");
    }
    Ok(())
}

async fn only_index_knows_postgres(_: Arc<App>) -> TestResult {
    let mut users = BTreeSet::new();
    for parent in ["functions", "shared"] {
        for package in fs::read_dir(project().join(parent))? {
            let manifest = package?.path().join("Cargo.toml");
            let text = fs::read_to_string(&manifest)?;
            if text.contains("tokio-postgres") {
                users.insert(manifest);
            }
        }
    }
    assert_eq!(users, BTreeSet::from([project().join("functions/index/Cargo.toml")]));
    for pure in ["domain", "text", "rag"] {
        let text = fs::read_to_string(project().join("shared").join(pure).join("Cargo.toml"))?;
        let dependencies = text.split("[dev-dependencies]").next().unwrap_or_default();
        for network in ["tokio", "hyper", "reqwest", "aws-", "lambda"] {
            assert!(!dependencies.contains(network), "{pure} knows {network}");
        }
    }
    Ok(())
}
