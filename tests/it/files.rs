//! Uploads: good ones, bad ones, and what becomes of them.

use crate::{Suite, TestResult, app::App, client::text};
use docuchat_testing as fixtures;
use reqwest::Method;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

pub fn add(suite: &mut Suite) {
    suite.add("files::what_cannot_be_read_fails_with_a_code_of_its_own", unreadable);
    suite.add("files::a_501_page_pdf_is_refused", too_many_pages);
    suite.add("files::a_26_mb_file_is_refused_at_every_door", too_large);
    suite.add("files::the_presigned_form_enforces_what_was_announced", form_is_enforced);
    suite.add("files::bad_announcements_are_explained", bad_announcements);
    suite.add("files::lists_have_pages_and_filters", lists);
    suite.add("files::deleting_leaves_nothing", deleting);
    suite.add("files::the_same_event_twice_changes_nothing", event_twice);
    suite.add("files::an_object_without_a_row_is_left_alone", orphan);
    suite.add("files::progress_reaches_the_owners_socket", progress);
}

async fn unreadable(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let cases: [(&str, &str, Vec<u8>, &str); 6] = [
        ("locked.pdf", "application/pdf", fixtures::encrypted_pdf(), "encrypted"),
        ("scan.pdf", "application/pdf", fixtures::scanned_pdf(), "no_text"),
        ("broken.pdf", "application/pdf", fixtures::truncated_pdf(), "corrupt"),
        (
            "picture.pdf",
            "application/pdf",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01".to_vec(),
            "content_mismatch",
        ),
        (
            "noise.txt",
            "text/plain",
            (0..4096_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect(),
            "content_mismatch",
        ),
        ("blank.txt", "text/plain", b"  \n \n".to_vec(), "no_text"),
    ];
    for (name, kind, bytes, expected) in cases {
        let document = member.upload(name, kind, &bytes).await?;
        let last = member.wait_for(&document, &["failed", "ready"]).await?;
        assert_eq!(
            (&last["status"], &last["error_code"]),
            (&json!("failed"), &json!(expected)),
            "{name}: {last}"
        );
        let message = text(&last["error_message"]);
        assert!(message.len() > 10 && message.ends_with('.'), "{name}: {message:?}");
        assert_eq!(app.chunks_of(&document).await?, 0);
    }
    // A neighbour of all these is not harmed.
    member.ready("good.pdf", "application/pdf", &fixtures::pdf(&["A good page."])).await?;
    Ok(())
}

async fn too_many_pages(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let document = member.upload("long.pdf", "application/pdf", &fixtures::pdf_of_pages(501)).await?;
    let last = member.wait_for(&document, &["failed", "ready"]).await?;
    assert_eq!(
        (&last["status"], &last["error_code"]),
        (&json!("failed"), &json!("too_many_pages")),
        "{last}"
    );
    Ok(())
}

async fn too_large(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let size = 26 << 20;
    let announced = json!({ "filename": "large.pdf", "size": size, "content_type": "application/pdf" });
    member.post("/v1/files", &announced).await?.problem(413, "file_too_large")?;
    // Announced small, sent large: the bucket refuses it.
    let announced = json!({ "filename": "large.pdf", "size": 1000, "content_type": "application/pdf" });
    let created = member.post("/v1/files", &announced).await?.expect(201)?;
    let status = member
        .post_form(&created["upload"], "large.pdf", "application/pdf", &fixtures::padded_pdf(size))
        .await?;
    assert!(status.is_client_error(), "{status}");
    // Put past the form, straight into the bucket: the worker refuses it.
    let document = text(&created["document_id"]);
    let key = format!("uploads/{}/{document}/large.pdf", member.tenant.clone().unwrap_or_default());
    let body = aws_sdk_s3::primitives::ByteStream::from(fixtures::padded_pdf(size));
    app.s3()
        .put_object()
        .bucket(app.output("BucketName")?)
        .key(key)
        .body(body)
        .send()
        .await
        .map_err(|e| format!("{e:?}"))?;
    let last = member.wait_for(&document, &["failed", "ready"]).await?;
    assert_eq!(last["error_code"], "file_too_large", "{last}");
    // Inside a request the limit is lower still.
    let inline =
        member.upload_inline("large.pdf", "application/pdf", &fixtures::padded_pdf((4 << 20) + 1)).await?;
    inline.problem(413, "file_too_large")?;
    Ok(())
}

async fn form_is_enforced(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let bytes = fixtures::pdf(&["A page."]);
    let announced = json!({ "filename": "a.pdf", "size": bytes.len(), "content_type": "application/pdf" });
    let created = member.post("/v1/files", &announced).await?.expect(201)?;
    assert_eq!((&created["status"], &created["expires_in"]), (&json!("awaiting_upload"), &json!(3600)));
    let mut elsewhere = created["upload"].clone();
    elsewhere["fields"]["key"] = Value::from("uploads/another/place.pdf");
    let status = member.post_form(&elsewhere, "a.pdf", "application/pdf", &bytes).await?;
    assert!(status.is_client_error(), "another key was accepted: {status}");
    let status = member.post_form(&created["upload"], "a.pdf", "application/pdf", &bytes).await?;
    assert!(status.is_success(), "{status}");
    member.wait_for(&text(&created["document_id"]), &["ready"]).await?;
    Ok(())
}

async fn bad_announcements(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let good = json!({ "filename": "a.pdf", "size": 10, "content_type": "application/pdf" });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let problem =
        member.post("/v1/files", &with("size", json!("ten"))).await?.problem(400, "invalid_field")?;
    assert_eq!(problem["path"], "size");
    member.post("/v1/files", &with("size", json!(0))).await?.problem(400, "empty_file")?;
    member.post("/v1/files", &with("filename", json!("///"))).await?.problem(400, "invalid_file_name")?;
    member
        .post("/v1/files", &with("content_type", json!("video/mp4")))
        .await?
        .problem(415, "unsupported_type")?;
    let raw = member
        .send(Method::POST, "/v1/files", |request| {
            request.header("content-type", "application/pdf").body("%PDF-1.4")
        })
        .await?;
    raw.problem(415, "unsupported_media_type")?;
    let empty = member.upload_inline("a.txt", "text/plain", b"").await?;
    empty.problem(400, "empty_file")?;
    member.get("/v1/files?limit=0").await?.problem(400, "invalid_limit")?;
    member.get("/v1/files?status=sleeping").await?.problem(400, "invalid_status")?;
    member.get("/v1/files?cursor=@@@").await?.problem(400, "invalid_cursor")?;
    member.get("/v1/files/not-an-id").await?.problem(404, "document_not_found")?;
    member.get("/v1/files/0199aaaa-0000-7000-8000-000000000001").await?.problem(404, "document_not_found")?;
    Ok(())
}

async fn lists(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let mut expected = Vec::new();
    for n in 0..5 {
        let body = format!("Note number {n} about lighthouses.");
        expected.push(member.ready(&format!("note{n}.txt"), "text/plain", body.as_bytes()).await?);
    }
    let announced = json!({ "filename": "never-sent.txt", "size": 10, "content_type": "text/plain" });
    let waiting = text(&member.post("/v1/files", &announced).await?.expect(201)?["document_id"]);
    expected.reverse();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = member.get(&format!("/v1/files?status=ready&limit=2{cursor}")).await?.expect(200)?;
        let files = page["files"].as_array().cloned().unwrap_or_default();
        assert!(files.len() <= 2);
        seen.extend(files.iter().map(|file| text(&file["document_id"])));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, expected, "newest first, each once");
    let page = member.get("/v1/files?status=awaiting_upload").await?.expect(200)?;
    assert_eq!(page["files"][0]["document_id"], waiting, "{page}");
    Ok(())
}

async fn deleting(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let document = member
        .ready("guide.pdf", "application/pdf", &fixtures::pdf(&["The anchor is painted green."]))
        .await?;
    let keep =
        member.ready("other.pdf", "application/pdf", &fixtures::pdf(&["The buoy is painted red."])).await?;
    assert!(app.chunks_of(&document).await? > 0);
    let answer = member.delete(&format!("/v1/files/{document}")).await?.expect(202)?;
    assert_eq!(answer["status"], "deleting");
    for _ in 0..600 {
        let view = member.get(&format!("/v1/files/{document}")).await?;
        if view.status == 404 {
            view.problem(404, "document_not_found")?;
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(app.chunks_of(&document).await?, 0);
    let tenant = member.tenant.clone().unwrap_or_default();
    for prefix in ["uploads", "derived"] {
        assert_eq!(app.objects_under(&format!("{prefix}/{tenant}/{document}/")).await?, Vec::<String>::new());
    }
    member.delete(&format!("/v1/files/{document}")).await?.problem(404, "document_not_found")?;
    let listed = member.get("/v1/files").await?.expect(200)?;
    assert_eq!(listed["files"].as_array().map(Vec::len), Some(1), "{listed}");
    assert!(app.chunks_of(&keep).await? > 0);
    let heard = member
        .socket()
        .await?
        .ask(&json!({ "message": "What colour is the anchor painted?" }))
        .await?
        .whole()?;
    assert!(!heard.text.contains("green"), "{}", heard.text);
    Ok(())
}

async fn event_twice(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let document = member
        .ready("گزارش سال.pdf", "application/pdf", &fixtures::pdf(&["The keel is made of oak."]))
        .await?;
    let before = member.get(&format!("/v1/files/{document}")).await?.expect(200)?;
    let chunks = app.chunks_of(&document).await?;
    // The key as S3 encodes it: percent-encoded, blanks as plus signs.
    let tenant = member.tenant.clone().unwrap_or_default();
    let name = "%DA%AF%D8%B2%D8%A7%D8%B1%D8%B4+%D8%B3%D8%A7%D9%84.pdf";
    let event = json!({ "Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Post",
        "awsRegion": "us-east-1", "eventTime": "2026-01-01T00:00:00.000Z",
        "s3": { "bucket": { "name": app.output("BucketName")? }, "object": { "key": format!("uploads/{tenant}/{document}/{name}"), "size": 1 } }
    }] });
    for _ in 0..2 {
        app.sqs()
            .send_message()
            .queue_url(app.output("IngestQueueUrl")?)
            .message_body(event.to_string())
            .send()
            .await
            .map_err(|e| format!("{e:?}"))?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = member.get(&format!("/v1/files/{document}")).await?.expect(200)?;
    assert_eq!(before, after);
    assert_eq!(app.chunks_of(&document).await?, chunks);
    Ok(())
}

async fn orphan(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let tenant = member.tenant.clone().unwrap_or_default();
    let id = "0199aaaa-0000-7000-8000-00000000beef";
    let key = format!("uploads/{tenant}/{id}/stray.txt");
    let body = aws_sdk_s3::primitives::ByteStream::from_static(b"Nobody announced me.");
    app.s3()
        .put_object()
        .bucket(app.output("BucketName")?)
        .key(&key)
        .body(body)
        .send()
        .await
        .map_err(|e| format!("{e:?}"))?;
    // The queue goes on: a document that comes after it becomes ready, and the stray made no row.
    member.ready("after.txt", "text/plain", b"I come after the stray.").await?;
    member.get(&format!("/v1/files/{id}")).await?.problem(404, "document_not_found")?;
    assert_eq!(app.chunks_of(id).await?, 0);
    assert_eq!(app.objects_under(&key).await?.len(), 1, "what we do not know we do not remove");
    Ok(())
}

async fn progress(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let mut socket = member.socket().await?;
    let document = member.ready("guide.txt", "text/plain", b"Progress is shown as it happens.").await?;
    let mut statuses = Vec::new();
    loop {
        let frame = socket.next_of("document").await?;
        assert_eq!(frame["document_id"], document);
        statuses.push(text(&frame["status"]));
        if frame["status"] == "ready" {
            break;
        }
    }
    assert!(statuses.len() >= 2, "{statuses:?}");
    Ok(())
}
