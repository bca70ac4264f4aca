//! From the upload to a searchable document.

use super::{heading, median, ms, stages};
use docuchat_local::{Client, Problem, Result, Running};
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

/// The promises, with the number of pages.
const CASES: [(usize, Option<Duration>); 2] = [(2, Some(Duration::from_secs(2))), (100, None)];

pub(super) async fn measure(running: &Running, client: &Client, runs: usize) -> Result<()> {
    heading("Upload to ready (2 pages: target 2 s, limit 5 s), stages from the function's own log");
    for (pages, target) in CASES {
        // The long document embeds for a while on a small machine: one run says enough.
        let runs = if pages > 10 { 1 } else { runs };
        let mut log = stages::Summaries::of(running, "ingest").await?;
        let mut totals = Vec::new();
        let mut summaries = Vec::new();
        for run in 0..runs {
            let file = pdf(pages, run);
            let began = Instant::now();
            let document =
                client.put_file(&format!("bench-{pages}-{run}.pdf"), "application/pdf", file).await?;
            client.wait_ready(document, Duration::from_mins(10)).await?;
            totals.push(began.elapsed());
            summaries.extend(log.next().await?);
        }
        let total = median(&totals);
        let mark = if target.is_some_and(|target| total > target) { "  over the target" } else { "" };
        println!("  {pages:>4} pages  {:>9} ms{mark}", ms(total));
        for name in stages::fields(&summaries) {
            println!("      {name:<22} {:>9}", ms(median(&stages::field(&summaries, &name))));
        }
    }
    Ok(())
}

/// A PDF of pages with about 250 words each, in Helvetica, written by hand: the runner needs no PDF library for it. The
/// run makes the text new, so that nothing is answered from a cache.
fn pdf(pages: usize, run: usize) -> Vec<u8> {
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        String::new(),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
    ];
    let mut kids = String::new();
    for page in 1..=pages {
        let mut content = "BT /F1 10 Tf 12 TL 50 790 Td\n".to_owned();
        for line in 1..=30 {
            // Writing to a String cannot fail.
            let _ = writeln!(
                content,
                "(Run {run}, page {page}, line {line}: the keeper number {} records the wind and the tide.) Tj T*",
                page * 31 + line
            );
        }
        content.push_str("ET");
        let number = objects.len() + 1;
        let _ = write!(kids, "{number} 0 R ");
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> /Contents {} 0 R >>",
            number + 1
        ));
        objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
    }
    if let Some(tree) = objects.get_mut(1) {
        *tree = format!("<< /Type /Pages /Count {pages} /Kids [{kids}] >>");
    }
    let mut file = "%PDF-1.4\n".to_owned();
    let mut offsets = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        let _ = write!(file, "{} 0 obj\n{object}\nendobj\n", index + 1);
    }
    let table = file.len();
    let _ = write!(file, "xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for offset in offsets {
        let _ = writeln!(file, "{offset:010} 00000 n ");
    }
    let _ =
        write!(file, "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1);
    file.into_bytes()
}

/// A document must be ready for a question about it.
pub(super) async fn seeded(client: &Client) -> Result<()> {
    let document = client.put_file("bench-question.pdf", "application/pdf", pdf(2, 999)).await?;
    client
        .wait_ready(document, Duration::from_mins(2))
        .await
        .map(|_| ())
        .map_err(|problem| Problem::new(problem.to_string()))
}
