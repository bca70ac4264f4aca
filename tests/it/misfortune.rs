//! What goes wrong around us: services that fail, processes that die. Each of these runs alone.

use crate::{Suite, TestResult, app::App, chat::finished, client::text};
use docuchat_testing as fixtures;
use serde_json::json;
use std::{fs, path::PathBuf, process::Command, sync::Arc, time::Duration};

pub fn add(suite: &mut Suite) {
    suite.add_alone("misfortune::a_killed_worker_is_replaced_without_duplicates", killed_worker);
    suite.add_alone("misfortune::embeddings_that_fail_for_a_while_are_retried", embeddings_stumble);
    suite.add_alone("misfortune::embeddings_that_fail_for_good_fail_the_document", embeddings_down);
    suite.add_alone("misfortune::an_answer_that_is_cut_is_kept_and_reported", cut_answer);
    suite.add_alone("misfortune::a_busy_model_is_asked_again", busy_model);
    suite.add_alone("misfortune::a_model_that_is_down_is_a_retryable_error", model_down);
    suite.add_alone("misfortune::a_dead_letter_fails_its_document", dead_letter);
}

/// Processes of a function, by the environment that the emulator gave them.
fn processes_of(function: &str) -> Vec<String> {
    let wanted = format!("AWS_LAMBDA_FUNCTION_NAME={function}\0");
    let holds = |folder: &PathBuf| {
        fs::read(folder.join("environ"))
            .is_ok_and(|bytes| bytes.windows(wanted.len()).any(|part| part == wanted.as_bytes()))
    };
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| {
            folder.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        })
        .filter(holds)
        .filter_map(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
        .collect()
}

async fn killed_worker(app: Arc<App>) -> TestResult {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let member = app.member().await?;
    app.models_misbehave(&json!({ "route": "embeddings", "kind": "slow", "delay_ms": 20_000, "times": 1 }))
        .await?;
    let document = member
        .upload("guide.pdf", "application/pdf", &fixtures::pdf(&["The hull is inspected in May."]))
        .await?;
    member.wait_for(&document, &["embedding"]).await?;
    let function = app.running().function("ingest").map_err(|problem| problem.to_string())?.to_owned();
    let mut victims = Vec::new();
    // Only the processes of this stack: another one on this machine has functions of the same name.
    let emulator = format!("AWS_ENDPOINT_URL={}\0", app.running().emulator_url);
    for pid in processes_of(&function) {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environ.windows(emulator.len()).any(|part| part == emulator.as_bytes()) {
            victims.push(pid);
        }
    }
    assert!(!victims.is_empty(), "no process of {function}");
    Command::new("kill").arg("-9").args(&victims).status()?;
    app.models_behave().await?;
    // The lease of ten seconds runs out, and the reaper (once a minute; here at once) puts the document back.
    tokio::time::sleep(Duration::from_secs(12)).await;
    app.invoke("ingest-reaper", &json!({})).await?;
    let last = member.wait_for(&document, &["ready", "failed"]).await?;
    assert_eq!((&last["status"], &last["attempts"]), (&json!("ready"), &json!(2)), "{last}");
    assert_eq!(json!(app.chunks_of(&document).await?), last["chunks"]);
    Ok(())
}

async fn embeddings_stumble(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    for kind in ["error_500", "html_body", "garbage"] {
        app.models_misbehave(&json!({ "route": "embeddings", "kind": kind, "times": 2 })).await?;
        let bytes = format!("A document that meets {kind}.");
        let document = member.ready(&format!("{kind}.txt"), "text/plain", bytes.as_bytes()).await?;
        assert_eq!(app.chunks_of(&document).await?, 1);
    }
    app.models_misbehave(
        &json!({ "route": "embeddings", "kind": "rate_limited", "retry_after_seconds": 1, "times": 1 }),
    )
    .await?;
    member.ready("patient.txt", "text/plain", b"A document that waits its turn.").await?;
    Ok(())
}

async fn embeddings_down(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    app.models_misbehave(
        &json!({ "route": "embeddings", "kind": "rate_limited", "retry_after_seconds": 3600 }),
    )
    .await?;
    let bytes = b"A document that meets a service which is busy for an hour.";
    let document = member.upload("unlucky.txt", "text/plain", bytes).await?;
    let waiting = member.wait_for(&document, &["queued", "failed"]).await?;
    assert_eq!(waiting["status"], "queued", "handed back to the queue: {waiting}");
    // Every further attempt fails as well (here at once instead of after an hour), until it is given up.
    let job = json!({ "job": "ingest", "tenant_id": member.tenant, "document_id": document }).to_string();
    for _ in 0..30 {
        let view = member.get(&format!("/v1/files/{document}")).await?.expect(200)?;
        if view["status"] == "failed" {
            break;
        }
        if view["status"] == "queued" {
            let queue = app.output("IngestQueueUrl")?;
            app.sqs()
                .send_message()
                .queue_url(queue)
                .message_body(&job)
                .send()
                .await
                .map_err(|e| format!("{e:?}"))?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let last = member.wait_for(&document, &["failed"]).await?;
    assert_eq!(last["error_code"], "model_unavailable", "{last}");
    app.models_behave().await?;
    // The same file again, as the client would: a new document.
    member.ready("unlucky.txt", "text/plain", bytes).await?;
    Ok(())
}

async fn guide(app: &App) -> Result<crate::client::Client, libtest_mimic::Failed> {
    let member = app.member().await?;
    let pages = [
        "The ferry to the island leaves at nine in the morning and returns at six in the evening, every day but Monday.",
    ];
    member.ready("ferry.pdf", "application/pdf", &fixtures::pdf(&pages)).await?;
    Ok(member)
}

async fn cut_answer(app: Arc<App>) -> TestResult {
    let member = guide(&app).await?;
    for kind in ["cut", "error_event"] {
        app.models_misbehave(&json!({ "route": "chat", "kind": kind, "after_tokens": 4 })).await?;
        let heard = member.socket().await?.ask(&json!({ "message": "When does the ferry leave?" })).await?;
        assert_eq!(
            (&heard.last["type"], &heard.last["code"], &heard.last["retryable"]),
            (&json!("error"), &json!("model_stream_cut"), &json!(true)),
            "{kind}: {}",
            heard.last
        );
        assert!(!heard.text.is_empty());
        let kept = finished(&member, &text(&heard.start["answer_id"])).await?;
        assert_eq!((&kept["status"], text(&kept["text"])), (&json!("failed"), heard.text), "{kind}");
        app.models_behave().await?;
    }
    // Failed answers count what they used: nothing is free, and nothing is counted twice.
    let usage = member.get("/v1/usage").await?.expect(200)?;
    assert_eq!(usage["window_24h"]["requests"], 2, "{usage}");
    Ok(())
}

async fn busy_model(app: Arc<App>) -> TestResult {
    let member = guide(&app).await?;
    app.models_misbehave(
        &json!({ "route": "chat", "kind": "rate_limited", "retry_after_seconds": 1, "times": 1 }),
    )
    .await?;
    let heard =
        member.socket().await?.ask(&json!({ "message": "When does the ferry leave?" })).await?.whole()?;
    assert!(heard.text.contains("nine"), "{}", heard.text);
    Ok(())
}

async fn model_down(app: Arc<App>) -> TestResult {
    let member = guide(&app).await?;
    let mut socket = member.socket().await?;
    for kind in ["error_500", "html_body"] {
        app.models_misbehave(&json!({ "route": "chat", "kind": kind })).await?;
        let heard = socket.ask(&json!({ "message": "When does the ferry leave?" })).await?;
        assert_eq!(
            (&heard.last["type"], &heard.last["retryable"]),
            (&json!("error"), &json!(true)),
            "{kind}: {}",
            heard.last
        );
        let message = text(&heard.last["message"]);
        assert!(!message.contains("500") && !message.contains('<'), "{message}");
        app.models_behave().await?;
    }
    // The same question again is answered.
    let heard = socket.ask(&json!({ "message": "When does the ferry leave?" })).await?.whole()?;
    assert!(heard.text.contains("nine"), "{}", heard.text);
    Ok(())
}

async fn dead_letter(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let announced = json!({ "filename": "lost.txt", "size": 10, "content_type": "text/plain" });
    let document = text(&member.post("/v1/files", &announced).await?.expect(201)?["document_id"]);
    let job = json!({ "job": "ingest", "tenant_id": member.tenant, "document_id": document }).to_string();
    app.sqs()
        .send_message()
        .queue_url(app.output("DeadLetterQueueUrl")?)
        .message_body(job)
        .send()
        .await
        .map_err(|e| format!("{e:?}"))?;
    let last = member.wait_for(&document, &["failed"]).await?;
    assert_eq!(last["error_code"], "ingest_failed", "{last}");
    Ok(())
}
