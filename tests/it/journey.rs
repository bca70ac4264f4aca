//! The whole main job: sign in, upload, ask, hear a cited answer, see the usage.

use crate::{Suite, TestResult, app::App, client::text};
use docuchat_testing as fixtures;
use serde_json::{Value, json};
use std::sync::Arc;

/// The bilingual handbook that the demo uses too.
const HANDBOOK: &[u8] = include_bytes!("../../infra/local/assets/demo.pdf");

pub fn add(suite: &mut Suite) {
    suite.add("journey::an_english_pdf_is_answered_from_with_page_and_quote", english);
    suite.add("journey::a_persian_question_is_answered_in_persian", persian);
    suite.add("journey::text_and_markdown_are_documents_too", text_and_markdown);
    suite.add("journey::what_the_documents_do_not_say_is_refused", refusal);
    suite.add("journey::history_and_usage_remember", history_and_usage);
}

const PAGES: [&str; 3] = [
    "Northwind Lighthouse Company. Staff guide.\nThis guide explains how the lighthouse keepers work.",
    "Annual leave. Every keeper is entitled to thirty one days of paid leave a year.\nUnused leave expires at the end of March.",
    "Lamp maintenance. The lamp is cleaned every Tuesday at dawn.\nSpare bulbs are stored in the blue cabinet on the second floor.",
];

async fn english(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let document = member.ready("Staff guide.pdf", "application/pdf", &fixtures::pdf(&PAGES)).await?;
    let view = member.get(&format!("/v1/files/{document}")).await?.expect(200)?;
    assert_eq!(
        (&view["pages"], &view["percent"], &view["attempts"]),
        (&json!(3), &json!(100), &json!(1)),
        "{view}"
    );
    assert!(view["chunks"].as_u64().unwrap_or(0) >= 1, "{view}");

    let mut socket = member.socket().await?;
    let heard = socket.ask(&json!({ "message": "Where are the spare bulbs stored?" })).await?.whole()?;
    assert!(heard.text.contains("blue cabinet"), "{}", heard.text);
    let citations = heard.last["citations"].as_array().cloned().unwrap_or_default();
    let cited = citations.iter().find(|citation| text(&citation["quote"]).contains("blue cabinet"));
    let citation = cited.ok_or_else(|| format!("no citation with the quote: {}", heard.last))?;
    assert_eq!((text(&citation["document_id"]), &citation["title"]), (document, &json!("Staff guide")));
    assert_eq!((&citation["page"], &citation["page_end"]), (&json!(3), &json!(3)), "{citation}");
    assert!(heard.text.contains(&format!("[{}]", citation["n"])), "{}", heard.text);
    assert!(heard.last["usage"]["tokens_in"].as_u64() > Some(0), "{}", heard.last);
    assert!(heard.last["usage"]["tokens_out"].as_u64() > Some(0), "{}", heard.last);
    assert!(heard.deltas > 1, "the answer came in one piece");
    assert!(!heard.sources.is_null() && !heard.start["session_id"].is_null());
    Ok(())
}

async fn persian(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let document = member.ready("handbook.pdf", "application/pdf", HANDBOOK).await?;
    let mut socket = member.socket().await?;
    let question = "کارکنان در سال چند روز مرخصی دارند؟";
    let heard = socket.ask(&json!({ "message": question })).await?.whole()?;
    assert!(heard.text.contains("مرخصی"), "{}", heard.text);
    assert_eq!(heard.last["refused"], false);
    let quotes: Vec<Value> = heard.last["citations"].as_array().cloned().unwrap_or_default();
    assert!(
        quotes.iter().any(|c| c["document_id"] == document && text(&c["quote"]).contains("مرخصی")),
        "{quotes:?}"
    );
    Ok(())
}

async fn text_and_markdown(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    let answer = member
        .upload_inline("notes.txt", "text/plain", "The harbour master is called Amelia Brandt.".as_bytes())
        .await?;
    let created = answer.expect(202)?;
    assert_eq!(created["status"], "queued");
    member.wait_for(&text(&created["document_id"]), &["ready"]).await?;
    let markdown = "# Tariffs\n\nMooring costs **forty euros** a night for boats under ten metres.\n";
    member.ready("tariffs.md", "text/markdown", markdown.as_bytes()).await?;
    let mut socket = member.socket().await?;
    let heard =
        socket.ask(&json!({ "message": "What is the name of the harbour master?" })).await?.whole()?;
    assert!(heard.text.contains("Amelia Brandt"), "{}", heard.text);
    let heard = socket.ask(&json!({ "message": "How much does mooring cost per night?" })).await?.whole()?;
    assert!(heard.text.contains("forty euros"), "{}", heard.text);
    Ok(())
}

async fn refusal(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    // Nothing uploaded: nothing is found, no model is asked, and the answer says so in the question's language.
    let mut socket = member.socket().await?;
    for question in ["What is the capital of France?", "پایتخت فرانسه کجاست؟"] {
        let heard = socket.ask(&json!({ "message": question })).await?.whole()?;
        assert_eq!(
            (&heard.last["refused"], &heard.last["usage"]["tokens_out"]),
            (&json!(true), &json!(0)),
            "{}",
            heard.last
        );
        assert_eq!(heard.last["citations"], json!([]));
        let persian = heard.text.chars().any(|c| ('\u{600}'..='\u{6ff}').contains(&c));
        assert_eq!(persian, question.contains('؟'), "{}", heard.text);
    }
    member.ready("guide.pdf", "application/pdf", &fixtures::pdf(&PAGES)).await?;
    let unanswerable = [
        "Who won the football world cup in 1998?",
        "How tall is the Eiffel tower?",
        "قیمت بلیت قطار چند است؟",
        "😀",
    ];
    for question in unanswerable {
        let heard = socket.ask(&json!({ "message": question })).await?.whole()?;
        let end = (&heard.last["refused"], &heard.last["citations"]);
        assert_eq!(end, (&json!(true), &json!([])), "{question}: {} {}", heard.text, heard.last);
    }
    Ok(())
}

async fn history_and_usage(app: Arc<App>) -> TestResult {
    let member = app.member().await?;
    member.ready("guide.pdf", "application/pdf", &fixtures::pdf(&PAGES)).await?;
    let mut socket = member.socket().await?;
    let first = socket.ask(&json!({ "message": "When is the lamp cleaned?" })).await?.whole()?;
    let session = text(&first.start["session_id"]);
    let second = socket
        .ask(&json!({ "message": "How many days of leave do keepers get?", "session_id": session }))
        .await?
        .whole()?;
    assert_eq!(second.start["session_id"], first.start["session_id"]);

    let sessions = member.get("/v1/sessions").await?.expect(200)?;
    assert_eq!(sessions["sessions"].as_array().map(Vec::len), Some(1), "{sessions}");
    assert_eq!(
        (&sessions["sessions"][0]["title"], &sessions["sessions"][0]["answers"]),
        (&json!("When is the lamp cleaned?"), &json!(2))
    );
    let read = member.get(&format!("/v1/sessions/{session}")).await?.expect(200)?;
    let messages = read["messages"].as_array().cloned().unwrap_or_default();
    let roles: Vec<_> = messages.iter().map(|message| text(&message["role"])).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"], "{read}");
    assert_eq!(text(&messages[1]["content"]), first.text);
    assert_eq!(messages[3]["status"], "complete");

    let usage = member.get("/v1/usage").await?.expect(200)?;
    for window in ["window_24h", "window_7d"] {
        let counted = &usage[window];
        let expected = ["tokens_in", "tokens_out"].map(|field| {
            first.last["usage"][field].as_u64().unwrap_or(0)
                + second.last["usage"][field].as_u64().unwrap_or(0)
        });
        assert_eq!(
            [counted["tokens_in"].as_u64(), counted["tokens_out"].as_u64()],
            expected.map(Some),
            "{usage}"
        );
        assert_eq!(counted["requests"], 2, "{usage}");
    }
    Ok(())
}
