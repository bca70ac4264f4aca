//! Prints the text of files as JSON: one object per file, `{"pages":[...]}` or `{"error":"code"}`.
//!
//! `cargo run -p docuchat-text --example extract -- [--out DIR] [--chunks] FILE...`
//!
//! With `--out` each object goes to `DIR/<file name>.json` instead; with `--chunks` it also has the chunks.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use docuchat_text::{ChunkOptions, Limits, TextError, chunk, counter_for_model, extract, sniff};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let mut out: Option<PathBuf> = None;
    let mut with_chunks = false;
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => out = arguments.next().map(PathBuf::from),
            "--chunks" => with_chunks = true,
            _ => files.push(PathBuf::from(argument)),
        }
    }
    if files.is_empty() {
        eprintln!("usage: extract [--out DIR] [--chunks] FILE...");
        return ExitCode::from(2);
    }
    for file in &files {
        let value = read(file, with_chunks);
        let written = if let Some(folder) = &out {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(folder.join(format!("{name}.json")), value.to_string()))
        } else {
            println!("{value}");
            Ok(())
        };
        if let Err(error) = written {
            eprintln!("cannot write the result for {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn read(file: &Path, with_chunks: bool) -> Value {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => return json!({ "error": "unreadable", "message": error.to_string() }),
    };
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let limits = Limits::default();
    let document = match sniff(&bytes, &name).and_then(|format| extract(&bytes, format, &limits)) {
        Ok(document) => document,
        Err(error) => return failure(&error),
    };
    let pages: Vec<&str> = document.pages.iter().map(|page| page.text.as_str()).collect();
    let mut value = json!({ "title": document.title, "pages": pages });
    if with_chunks && let Some(object) = value.as_object_mut() {
        let counter = counter_for_model("text-embedding-3-small");
        let chunks: Vec<Value> = chunk(&document.pages, &ChunkOptions::default(), counter)
            .into_iter()
            .map(|chunk| {
                json!({
                    "ordinal": chunk.ordinal, "page_start": chunk.page_start, "page_end": chunk.page_end,
                    "char_start": chunk.char_start, "char_end": chunk.char_end, "tokens": chunk.tokens,
                    "text": chunk.text,
                })
            })
            .collect();
        object.insert("chunks".to_owned(), Value::Array(chunks));
    }
    value
}

fn failure(error: &TextError) -> Value {
    json!({ "error": error.code(), "message": error.to_string(), "detail": error.detail() })
}
