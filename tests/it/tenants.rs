//! A second tenant tries every door.

use crate::{Suite, TestResult, app::App, client::text};
use docuchat_testing as fixtures;
use serde_json::json;
use std::sync::Arc;

pub fn add(suite: &mut Suite) {
    suite.add("tenants::foreign_ids_are_not_found", foreign_ids);
    suite.add("tenants::answers_come_from_the_own_documents_only", own_documents_only);
    suite.add("tenants::colleagues_share_documents_but_not_sessions", colleagues);
    suite.add("tenants::the_database_is_a_second_lock", second_lock);
}

async fn foreign_ids(app: Arc<App>) -> TestResult {
    let (owner, stranger) = (app.member().await?, app.member().await?);
    let document = owner.ready("secret.txt", "text/plain", b"The treasure lies under the old oak.").await?;
    let heard =
        owner.socket().await?.ask(&json!({ "message": "Where does the treasure lie?" })).await?.whole()?;
    let (session, answer) = (text(&heard.start["session_id"]), text(&heard.start["answer_id"]));
    stranger.get(&format!("/v1/files/{document}")).await?.problem(404, "document_not_found")?;
    stranger.delete(&format!("/v1/files/{document}")).await?.problem(404, "document_not_found")?;
    stranger.get(&format!("/v1/sessions/{session}")).await?.problem(404, "session_not_found")?;
    stranger.get(&format!("/v1/answers/{answer}")).await?.problem(404, "answer_not_found")?;
    let mut socket = stranger.socket().await?;
    socket.send(&json!({ "message": "And now?", "session_id": session })).await?;
    assert_eq!(socket.next().await?["code"], "session_not_found");
    let heard =
        socket.ask(&json!({ "message": "Where does the treasure lie?", "documents": [document] })).await?;
    assert!(!heard.text.contains("oak"), "{}", heard.text);
    owner.get(&format!("/v1/files/{document}")).await?.expect(200)?;
    assert!(stranger.get("/v1/files").await?.expect(200)?["files"].as_array().is_some_and(Vec::is_empty));
    Ok(())
}

async fn own_documents_only(app: Arc<App>) -> TestResult {
    let (a, b) = (app.member().await?, app.member().await?);
    a.ready("a.pdf", "application/pdf", &fixtures::pdf(&["The password of the vault is swordfish."])).await?;
    b.ready("b.pdf", "application/pdf", &fixtures::pdf(&["The password of the vault is butterfly."])).await?;
    let question = json!({ "message": "What is the password of the vault?" });
    let heard = b.socket().await?.ask(&question).await?.whole()?;
    assert!(heard.text.contains("butterfly") && !heard.text.contains("swordfish"), "{}", heard.text);
    let heard = a.socket().await?.ask(&question).await?.whole()?;
    assert!(heard.text.contains("swordfish") && !heard.text.contains("butterfly"), "{}", heard.text);
    Ok(())
}

async fn colleagues(app: Arc<App>) -> TestResult {
    let tenant = app.tenant().await?;
    let (a, b) = (app.member_of(&tenant).await?, app.member_of(&tenant).await?);
    let document = a.ready("a.txt", "text/plain", b"The lighthouse has ninety nine steps.").await?;
    b.get(&format!("/v1/files/{document}")).await?.expect(200)?;
    b.delete(&format!("/v1/files/{document}")).await?.problem(403, "not_owner")?;
    let heard = b
        .socket()
        .await?
        .ask(&json!({ "message": "How many steps does the lighthouse have?" }))
        .await?
        .whole()?;
    assert!(heard.text.contains("ninety nine"), "{}", heard.text);
    let session = text(&heard.start["session_id"]);
    a.get(&format!("/v1/sessions/{session}")).await?.problem(404, "session_not_found")?;
    Ok(())
}

async fn second_lock(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let document = member.ready("a.txt", "text/plain", b"Locked twice.").await?;
    // As the functions' own role: without a tenant no row, with another tenant no row, although no WHERE asks for one.
    let url = app.running().database_admin_url.clone();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("set role docuchat_app").await?;
    let visible = |tenant: String| {
        let client = &client;
        async move {
            let sql = format!("begin; select app.enter('{tenant}')");
            client.batch_execute(&sql).await?;
            let row = client.query_one("select count(*) from app.chunks", &[]).await?;
            client.batch_execute("rollback").await?;
            Ok::<i64, tokio_postgres::Error>(row.get(0))
        }
    };
    let row = client.query_one("select count(*) from app.chunks", &[]).await?;
    assert_eq!(row.get::<_, i64>(0), 0);
    assert_eq!(visible(app.tenant().await?).await?, 0);
    assert_eq!(visible(member.tenant.clone().unwrap_or_default()).await?, app.chunks_of(&document).await?);
    let partition = client.query_one("select count(*) from app.chunks_p00", &[]).await;
    assert!(partition.is_err(), "a partition can be read past the policy");
    Ok(())
}
