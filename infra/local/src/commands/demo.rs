//! `cargo local demo`: the main job, as an outside client does it, over the public URLs only.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use docuchat_local::{
    Answer, Client, Home, Problem, Result, Running, Socket, Stack, StackOptions, report::Report,
    tenant::DEMO_TENANT,
};
use serde_json::{Value, json};

use super::start::StopSignals;

/// The document of a demo without a file: a handbook of our own making, in English and Persian.
const HANDBOOK: &[u8] = include_bytes!("../../assets/demo.pdf");
const HANDBOOK_NAME: &str = "handbook.pdf";
const HANDBOOK_QUESTIONS: [&str; 2] =
    ["How many days in advance must I ask for annual leave?", "ساعت کار شرکت در روزهای پنجشنبه چگونه است؟"];

/// Options of `demo`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A PDF, text or Markdown file; without it, a small handbook in English and Persian.
    file: Option<PathBuf>,
    /// A question about it, in English or Persian.
    question: Option<String>,
}

struct Document {
    name: String,
    content_type: &'static str,
    bytes: Vec<u8>,
    questions: Vec<String>,
}

/// Does the main job on the running stack, or on one that is started for it and stopped afterwards.
pub(super) async fn run(home: &Home, options: StackOptions, arguments: Arguments) -> Result<()> {
    // A file that cannot be read is better known before minutes of building.
    let document = Document::read(arguments)?;
    let report = options.report;
    if let Some(running) = Running::find(&home.stack(&options.name))? {
        report.note(&format!("Using the stack that runs at {}.", running.rest_url));
        return journey(&running, &document, report).await;
    }
    let mut stop = StopSignals::new()?;
    let stack = tokio::select! {
        stack = Stack::start(home, options) => stack?,
        () = stop.received() => return Err(Problem::new("Interrupted before the stack was up")),
    };
    let outcome = tokio::select! {
        outcome = journey(stack.running(), &document, report) => outcome,
        () = stop.received() => Err(Problem::new("Interrupted")),
    };
    report.note("Stopping the stack (`cargo local` starts it again with the same data) ...");
    stack.stop().await;
    outcome
}

impl Document {
    fn read(arguments: Arguments) -> Result<Self> {
        let Some(path) = arguments.file else {
            return Ok(Self {
                name: HANDBOOK_NAME.to_owned(),
                content_type: "application/pdf",
                bytes: HANDBOOK.to_vec(),
                questions: HANDBOOK_QUESTIONS.map(str::to_owned).to_vec(),
            });
        };
        let bytes = std::fs::read(&path)
            .map_err(|error| Problem::new(format!("{} cannot be read: {error}", path.display())))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            name,
            content_type: content_type(&path)?,
            bytes,
            questions: vec![arguments.question.unwrap_or_else(|| "What is this document about?".to_owned())],
        })
    }
}

fn content_type(path: &Path) -> Result<&'static str> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("pdf") => Ok("application/pdf"),
        Some("md" | "markdown") => Ok("text/markdown"),
        Some("txt" | "text") => Ok("text/plain"),
        _ => Err(Problem::new(format!("{} is not a PDF, text or Markdown file", path.display()))
            .remedy("Its name must end in .pdf, .txt or .md.")),
    }
}

async fn journey(running: &Running, document: &Document, report: Report) -> Result<()> {
    let client = sign_in(running).await?;
    let document_id = upload(&client, document, report).await?;
    let mut socket = client.connect().await?;
    let mut session_id = None;
    for question in &document.questions {
        session_id = Some(ask(&mut socket, question, document_id, session_id).await?);
    }
    socket.close().await;
    usage(&client).await
}

async fn sign_in(running: &Running) -> Result<Client> {
    heading("Signing in");
    // A new address each time, so that no limit on codes per address stands in the way of a second demo.
    let email = format!("demo-{}@docuchat.example", docuchat_local::short_id());
    let client = Client::of(running)?;
    println!("  tenant {DEMO_TENANT}");
    println!("  POST {}/v1/auth/request-code for {email}", running.rest_url);
    let code = client.mailed_code(&email).await?;
    println!("  the mail at {} says {code}", running.mailbox_url);
    let reply = client.verify_code(&email, &code).await?.ok("Signing in")?;
    let token = reply.body.get("access_token").and_then(Value::as_str);
    println!("  POST /v1/auth/verify-code: signed in");
    Ok(client.with_token(token))
}

async fn upload(client: &Client, document: &Document, report: Report) -> Result<uuid::Uuid> {
    heading(&format!("Uploading {} ({} KB)", document.name, document.bytes.len().div_ceil(1024)));
    let started = Instant::now();
    let announced = client.create_file(&document.name, document.bytes.len(), document.content_type).await?;
    let id = announced.document_id;
    println!("  POST /v1/files: document {id}");
    let status = client.upload(&announced.upload, &document.name, document.bytes.clone()).await?;
    if !status.is_success() {
        return Err(Problem::new(format!("The object store refused the file with {status}")));
    }
    println!("  POST {}: {}", announced.upload.url, status.as_u16());

    let mut bar = report.bar("  reading", 100, false);
    let followed = client
        .follow(id, Duration::from_mins(15), |state| {
            bar.at(state.get("percent").and_then(Value::as_u64).unwrap_or_default());
            bar.detail(state.get("status").and_then(Value::as_str).unwrap_or_default());
        })
        .await?;
    bar.done();
    let number = |name: &str| followed.get(name).and_then(Value::as_u64).unwrap_or_default();
    let text = |name: &str| followed.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("status") != "ready" {
        return Err(Problem::new(format!(
            "The document could not be used ({}): {}",
            text("error_code"),
            text("error_message")
        )));
    }
    println!(
        "  ready after {:.1} s: {} pages, {} chunks",
        started.elapsed().as_secs_f64(),
        number("pages"),
        number("chunks")
    );
    Ok(id)
}

/// Asks and prints; gives the session, so that the next question continues it.
async fn ask(
    socket: &mut Socket,
    question: &str,
    document_id: uuid::Uuid,
    session_id: Option<String>,
) -> Result<String> {
    heading(question);
    let mut frame = json!({"message": question, "documents": [document_id]});
    if let (Some(session_id), Some(fields)) = (session_id, frame.as_object_mut()) {
        fields.insert("session_id".to_owned(), json!(session_id));
    }
    let started = Instant::now();
    let mut first = None;
    let answer = socket
        .ask(&frame, |frame| {
            if frame.get("type").and_then(Value::as_str) == Some("delta") {
                first.get_or_insert_with(|| started.elapsed());
                print!("{}", frame.get("token").and_then(Value::as_str).unwrap_or_default());
                // A stream that is no longer read must not break the demo off.
                let _shown = std::io::stdout().flush();
            }
        })
        .await?;
    println!();
    if let Some(error) = &answer.error {
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        return Err(Problem::new(format!("The question failed ({}): {}", text("code"), text("message"))));
    }
    print_sources(&answer);
    let count = |name: &str| answer.usage.get(name).and_then(Value::as_u64).unwrap_or_default();
    println!(
        "  {} tokens in, {} tokens out; first words after {:.2} s, all after {:.2} s",
        count("tokens_in"),
        count("tokens_out"),
        first.unwrap_or_else(|| started.elapsed()).as_secs_f64(),
        started.elapsed().as_secs_f64()
    );
    Ok(answer.session_id)
}

fn print_sources(answer: &Answer) {
    if answer.citations.is_empty() {
        println!("\n  (no source: nothing in the document answers this)");
    }
    for citation in &answer.citations {
        println!("{}", source(citation));
    }
}

/// `[1] Handbook, page 2: "..."`. Right-to-left text is printed in logical order, which terminals expect; the quote
/// stands on a line of its own, so that the direction of the one line does not turn the other round.
fn source(citation: &Value) -> String {
    let number = |name: &str| citation.get(name).and_then(Value::as_u64).unwrap_or_default();
    let text = |name: &str| citation.get(name).and_then(Value::as_str).unwrap_or_default();
    let (first, last) = (number("page"), number("page_end"));
    let pages = if last > first { format!("pages {first}-{last}") } else { format!("page {first}") };
    let quote = text("quote").split_whitespace().collect::<Vec<_>>().join(" ");
    format!("\n  [{}] {}, {pages}\n      \"{quote}\"", number("n"), text("title"))
}

async fn usage(client: &Client) -> Result<()> {
    heading("Usage");
    let body = client.get("/v1/usage").await?.ok("GET /v1/usage")?.body;
    for (window, name) in [("window_24h", "last 24 hours"), ("window_7d", "last 7 days")] {
        let count = |field: &str| {
            body.get(window).and_then(|window| window.get(field)).and_then(Value::as_u64).unwrap_or_default()
        };
        println!(
            "  {name}: {} tokens in, {} tokens out, {} requests",
            count("tokens_in"),
            count("tokens_out"),
            count("requests")
        );
    }
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_names_document_page_and_quote() {
        let citation = json!({"n": 1, "title": "Handbook", "page": 2, "page_end": 3, "quote": "a\n b"});
        assert_eq!(source(&citation), "\n  [1] Handbook, pages 2-3\n      \"a b\"");
    }

    #[test]
    fn only_files_that_can_be_read_are_taken() {
        assert_eq!(content_type(Path::new("a.PDF")).unwrap(), "application/pdf");
        assert_eq!(content_type(Path::new("a.md")).unwrap(), "text/markdown");
        assert!(content_type(Path::new("a.exe")).unwrap_err().to_string().contains(".pdf, .txt or .md"));
    }

    #[test]
    fn the_handbook_is_a_small_pdf() {
        assert!(HANDBOOK.starts_with(b"%PDF-"));
        assert!(HANDBOOK.len() < 150 * 1024);
    }
}
