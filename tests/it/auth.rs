//! Signing in, and everything that must not work.

use crate::{Suite, TestResult, app::App, client::text};
use aws_sdk_dynamodb::types::AttributeValue;
use docuchat_local::tenant::SignUp;
use reqwest::Method;
use serde_json::json;
use std::{sync::Arc, time::Instant};

pub fn add(suite: &mut Suite) {
    suite.add("auth::a_code_signs_in_once", once);
    suite.add("auth::the_sixth_guess_is_refused_even_when_right", sixth_attempt);
    suite.add("auth::an_expired_code_is_refused", expired);
    suite.add("auth::racing_right_codes_sign_in_once", racing);
    suite.add("auth::strangers_get_the_same_answer_and_no_mail", strangers);
    suite.add("auth::a_mailbox_cannot_be_flooded", flood);
    suite.add("auth::a_code_of_one_tenant_is_nothing_in_another", other_tenant);
    suite.add("auth::bad_requests_are_explained", bad_requests);
    suite.add("auth::no_token_no_entry", no_token);
}

async fn once(app: Arc<App>) -> TestResult {
    let (tenant, email) = (app.tenant().await?, app.address());
    let client = app.anonymous().in_tenant(tenant);
    let answer =
        client.post("/v1/auth/request-code", &json!({ "email": email.to_uppercase() })).await?.expect(200)?;
    assert_eq!(answer["message"], "Verification code sent");
    let code = app.code_for(&email).await?;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    client
        .post("/v1/auth/verify-code", &json!({ "email": email, "code": wrong }))
        .await?
        .problem(401, "invalid_code")?;
    let token =
        client.post("/v1/auth/verify-code", &json!({ "email": email, "code": code })).await?.expect(200)?;
    assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("bearer"), &json!(1800)));
    client.with_token(text(&token["access_token"])).get("/v1/files").await?.expect(200)?;
    client
        .post("/v1/auth/verify-code", &json!({ "email": email, "code": code }))
        .await?
        .problem(401, "invalid_code")?;
    Ok(())
}

async fn sixth_attempt(app: Arc<App>) -> TestResult {
    let (tenant, email) = (app.tenant().await?, app.address());
    let client = app.anonymous().in_tenant(tenant);
    client.post("/v1/auth/request-code", &json!({ "email": email })).await?.expect(200)?;
    let code = app.code_for(&email).await?;
    let wrong = if code == "111111" { "222222" } else { "111111" };
    for _ in 0..5 {
        client
            .post("/v1/auth/verify-code", &json!({ "email": email, "code": wrong }))
            .await?
            .problem(401, "invalid_code")?;
    }
    let refused = client.post("/v1/auth/verify-code", &json!({ "email": email, "code": code })).await?;
    assert!(refused.headers.contains_key("retry-after"));
    refused.problem(429, "too_many_attempts")?;
    Ok(())
}

async fn expired(app: Arc<App>) -> TestResult {
    let (tenant, email) = (app.tenant().await?, app.address());
    let client = app.anonymous().in_tenant(tenant.clone());
    client.post("/v1/auth/request-code", &json!({ "email": email })).await?.expect(200)?;
    let code = app.code_for(&email).await?;
    // Ten minutes pass: the row is the only place that knows when the code ends.
    let (db, table) = (app.dynamodb(), app.output("CodesTableName")?);
    let rows = db.scan().table_name(table).send().await.map_err(|e| format!("{e:?}"))?;
    let row = rows
        .items()
        .iter()
        .find(|row| row["pk"].as_s().is_ok_and(|pk| pk.starts_with(&tenant)))
        .ok_or("no code row")?;
    db.update_item()
        .table_name(table)
        .key("pk", row["pk"].clone())
        .update_expression("SET expires_at = :past")
        .expression_attribute_values(":past", AttributeValue::N("1".into()))
        .send()
        .await
        .map_err(|e| format!("{e:?}"))?;
    client
        .post("/v1/auth/verify-code", &json!({ "email": email, "code": code }))
        .await?
        .problem(401, "invalid_code")?;
    Ok(())
}

async fn racing(app: Arc<App>) -> TestResult {
    let (tenant, email) = (app.tenant().await?, app.address());
    let client = app.anonymous().in_tenant(tenant);
    client.post("/v1/auth/request-code", &json!({ "email": email })).await?.expect(200)?;
    let body = json!({ "email": email, "code": app.code_for(&email).await? });
    let (a, b, c) = tokio::join!(
        client.post("/v1/auth/verify-code", &body),
        client.post("/v1/auth/verify-code", &body),
        client.post("/v1/auth/verify-code", &body),
    );
    let mut statuses = [a?.status, b?.status, c?.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401]);
    Ok(())
}

async fn strangers(app: Arc<App>) -> TestResult {
    let tenant = app.tenant_with(&SignUp::Domains(vec!["example.org".into()])).await?;
    let client = app.anonymous().in_tenant(tenant);
    let mut times = Vec::new();
    let mut bodies = Vec::new();
    let (inside, outside) = (app.address().replace("example.com", "example.org"), app.address());
    // A first call starts the function and is not compared.
    client.post("/v1/auth/request-code", &json!({ "email": app.address() })).await?.expect(200)?;
    for email in [&inside, &outside] {
        let began = Instant::now();
        bodies.push(client.post("/v1/auth/request-code", &json!({ "email": email })).await?.expect(200)?);
        times.push(began.elapsed().as_millis());
    }
    assert_eq!(bodies[0], bodies[1]);
    app.code_for(&inside).await?;
    assert!(app.mails_to(&outside).await?.is_empty(), "a stranger got mail");
    // Not a measurement, only that neither returns early: the floor of the function is 300 ms.
    assert!(times.iter().all(|millis| *millis >= 250), "{times:?}");
    Ok(())
}

async fn flood(app: Arc<App>) -> TestResult {
    let (tenant, email) = (app.tenant().await?, app.address());
    let client = app.anonymous().in_tenant(tenant);
    for _ in 0..8 {
        client.post("/v1/auth/request-code", &json!({ "email": email })).await?.expect(200)?;
    }
    assert_eq!(app.mails_to(&email).await?.len(), 5);
    Ok(())
}

async fn other_tenant(app: Arc<App>) -> TestResult {
    let (a, b, email) = (app.tenant().await?, app.tenant().await?, app.address());
    app.anonymous()
        .in_tenant(a)
        .post("/v1/auth/request-code", &json!({ "email": email }))
        .await?
        .expect(200)?;
    let code = app.code_for(&email).await?;
    let body = json!({ "email": email, "code": code });
    app.anonymous().in_tenant(b).post("/v1/auth/verify-code", &body).await?.problem(401, "invalid_code")?;
    Ok(())
}

async fn bad_requests(app: Arc<App>) -> TestResult {
    let client = app.anonymous().in_tenant(app.tenant().await?);
    let path = "/v1/auth/request-code";
    app.anonymous().post(path, &json!({ "email": "a@example.com" })).await?.problem(400, "missing_tenant")?;
    app.anonymous()
        .in_tenant("nonsense")
        .post(path, &json!({ "email": "a@example.com" }))
        .await?
        .problem(400, "invalid_tenant")?;
    let unknown = "d0c0c4a7-0000-4000-8000-00000000dead";
    app.anonymous()
        .in_tenant(unknown)
        .post(path, &json!({ "email": "a@example.com" }))
        .await?
        .problem(404, "tenant_not_found")?;
    let problem = client.post(path, &json!({ "email": 7 })).await?.problem(400, "invalid_field")?;
    assert_eq!(problem["path"], "email");
    client.post(path, &json!({ "email": "not an address" })).await?.problem(400, "invalid_email")?;
    let raw = |body: &'static str, kind: &'static str| {
        client.send(Method::POST, path, move |request| request.header("content-type", kind).body(body))
    };
    raw("[\"a@example.com\"]", "application/json").await?.problem(400, "invalid_field")?;
    raw("{", "application/json").await?.problem(400, "malformed_json")?;
    raw("{\"email\":\"a@example.com\"}", "text/plain").await?.problem(415, "unsupported_media_type")?;
    let huge = json!({ "email": "a@example.com", "padding": "x".repeat(300_000) });
    client.post(path, &huge).await?.problem(413, "body_too_large")?;
    client
        .post("/v1/auth/verify-code", &json!({ "email": "a@example.com", "code": "12 456" }))
        .await?
        .problem(401, "invalid_code")?;
    Ok(())
}

async fn no_token(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let nobody = app.anonymous().in_tenant(member.tenant.clone().unwrap_or_default());
    for path in ["/v1/files", "/v1/sessions", "/v1/usage"] {
        nobody.get(path).await?.problem(401, "missing_token")?;
        nobody.with_token("a.b.c").get(path).await?.problem(401, "invalid_token")?;
        let elsewhere = member.in_tenant(app.tenant().await?);
        elsewhere.get(path).await?.problem(403, "tenant_mismatch")?;
        let mut without_tenant = member.clone();
        without_tenant.tenant = None;
        without_tenant.get(path).await?.problem(400, "missing_tenant")?;
    }
    Ok(())
}
