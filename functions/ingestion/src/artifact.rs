//! Writing the artifact and recognising one that is there already.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use docuchat_domain::{
    Error, Result,
    artifact::{Chunk, Header, VERSION},
    document::Document,
};

/// Enough of an artifact to hold its first line: a title of 200 characters and a file name of 255 bytes are the
/// longest of its parts.
pub const HEADER_BYTES: u32 = 8 * 1024;

/// Whether an artifact was made from this very content and with this very model, so that nothing has to be paid twice.
/// `start` is at least its first line.
#[must_use]
pub fn reusable(
    start: &[u8],
    document: &Document,
    sha256: &str,
    model: &str,
    dimensions: u32,
) -> Option<Header> {
    let line = start.split(|byte| *byte == b'\n').next()?;
    let header: Header = serde_json::from_slice(line).ok()?;
    let same = header.version == VERSION
        && header.tenant_id == document.tenant_id
        && header.document_id == document.document_id
        && header.generation == document.generation
        && header.sha256 == sha256
        && header.embed_model == model
        && header.dimensions == dimensions;
    same.then_some(header)
}

/// The artifact as JSON lines. There is one vector per chunk.
pub fn write(header: &Header, chunks: Vec<docuchat_text::Chunk>, vectors: &[Vec<f32>]) -> Result<Vec<u8>> {
    let failed = |error: serde_json::Error| Error::internal("writing an artifact", error);
    let mut lines = Vec::new();
    serde_json::to_writer(&mut lines, header).map_err(failed)?;
    lines.push(b'\n');
    for (chunk, vector) in chunks.into_iter().zip(vectors) {
        let line = Chunk {
            ordinal: number(chunk.ordinal),
            page_start: chunk.page_start,
            page_end: chunk.page_end,
            page_breaks: chunk.page_breaks.into_iter().map(number).collect(),
            char_start: number(chunk.char_start),
            char_end: number(chunk.char_end),
            tokens: number(chunk.tokens),
            text: chunk.text,
            vector: encode_vector(vector),
        };
        serde_json::to_writer(&mut lines, &line).map_err(failed)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// A file of 25 MB has fewer characters than a `u32` counts.
pub(crate) fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn encode_vector(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use docuchat_domain::document::Status;
    use docuchat_text::{ChunkOptions, Page, chunk, counter_for_model};

    fn document() -> Document {
        Document {
            tenant_id: "d0c0c4a7-0000-4000-8000-000000000001".parse().unwrap(),
            document_id: "0199aaaa-0000-7000-8000-000000000001".parse().unwrap(),
            owner_id: "d0c0c4a7-0000-4000-8000-000000000002".parse().unwrap(),
            collection_id: None,
            title: "گزارش".to_owned(),
            file_name: "گزارش.pdf".to_owned(),
            content_type: "application/pdf".to_owned(),
            size: 1,
            status: Status::Extracting,
            percent: 10,
            attempts: 1,
            generation: 1,
            pages: None,
            chunks: None,
            sha256: None,
            error_code: None,
            error_message: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            ready_at: None,
            lease: None,
            due_at: None,
        }
    }

    fn header() -> Header {
        let document = document();
        Header {
            version: VERSION,
            tenant_id: document.tenant_id,
            document_id: document.document_id,
            generation: 1,
            title: document.title,
            file_name: document.file_name,
            embed_model: "m".to_owned(),
            dimensions: 2,
            pages: 1,
            chunks: 1,
            sha256: "ab".to_owned(),
        }
    }

    #[test]
    fn an_artifact_is_reused_for_the_same_content_and_model_only() {
        let pages = [Page::new(1, "سلام دنیا.".to_owned())];
        let chunks = chunk(&pages, &ChunkOptions::default(), counter_for_model("m"));
        let bytes = write(&header(), chunks, &[vec![1.0, -0.5]]).unwrap();
        assert_eq!(reusable(&bytes, &document(), "ab", "m", 2), Some(header()));
        assert_eq!(reusable(&bytes, &document(), "other", "m", 2), None);
        assert_eq!(reusable(&bytes, &document(), "ab", "other", 2), None);
        assert_eq!(reusable(&bytes, &document(), "ab", "m", 3), None);
        assert_eq!(reusable(&bytes, &Document { generation: 2, ..document() }, "ab", "m", 2), None);
        assert_eq!(reusable(b"{\"version\":1,\"ten", &document(), "ab", "m", 2), None);

        let text = String::from_utf8(bytes).unwrap();
        let line: Chunk = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        assert_eq!((line.text.as_str(), line.char_end, line.page_end), ("سلام دنیا.", 10, 1));
        assert_eq!(BASE64_STANDARD.decode(line.vector).unwrap(), [0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf]);
    }

    #[test]
    fn the_longest_header_fits_the_start_that_is_read() {
        let longest = Header { title: "\u{10348}".repeat(200), file_name: "\"".repeat(255), ..header() };
        assert!(serde_json::to_string(&longest).unwrap().len() < HEADER_BYTES as usize / 2);
    }
}
