//! What a file is, by its content.

use crate::{Format, TextError, plain};

/// How far into a file the PDF header may begin (Adobe's implementation note 13 to PDF 1.7).
const PDF_HEADER_WITHIN: usize = 1024;

/// Tells the format of a file. The content decides; the name only chooses between kinds of text.
///
/// - A PDF is a PDF under any name.
/// - Text named `.md` or `.markdown` is Markdown, other text is plain text.
/// - A known foreign kind, or bytes that are no text in any encoding, are [`TextError::UnsupportedType`], or
///   [`TextError::ContentMismatch`] when the name promises a kind that is supported.
/// - No bytes at all are [`TextError::EmptyFile`].
pub fn sniff(bytes: &[u8], file_name: &str) -> Result<Format, TextError> {
    if bytes.is_empty() {
        return Err(TextError::EmptyFile);
    }
    let extension = file_name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
    let promised = match extension.as_str() {
        "pdf" => Some("PDF"),
        "txt" | "text" => Some("plain text"),
        "md" | "markdown" => Some("Markdown"),
        _ => None,
    };
    let refuse = |found: &'static str| match promised {
        Some(expected) => TextError::ContentMismatch { expected, found },
        None => TextError::UnsupportedType { found },
    };
    if let Some(found) = foreign(bytes) {
        return Err(refuse(found));
    }
    if is_pdf(bytes) {
        return Ok(Format::Pdf);
    }
    if !plain::is_text(bytes) {
        return Err(refuse("unknown binary data"));
    }
    if is_html(bytes) {
        return Err(refuse("an HTML page"));
    }
    match promised {
        Some("PDF") => Err(refuse("plain text")),
        Some("Markdown") => Ok(Format::Markdown),
        _ => Ok(Format::PlainText),
    }
}

fn is_pdf(bytes: &[u8]) -> bool {
    let head = bytes.get(..PDF_HEADER_WITHIN).unwrap_or(bytes);
    match head.windows(5).position(|window| window == b"%PDF-") {
        Some(0) => true,
        // Something stands before the header: a text about PDF has no objects.
        Some(_) => bytes.windows(6).any(|window| window == b"endobj"),
        None => false,
    }
}

/// Kinds that are recognised by their first bytes and not read.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 24] = [
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"GIF87a", "a GIF image"),
        (b"GIF89a", "a GIF image"),
        (b"II*\0", "a TIFF image"),
        (b"MM\0*", "a TIFF image"),
        (b"RIFF", "a RIFF media file"),
        (b"OggS", "an Ogg media file"),
        (b"ID3", "an MP3 sound"),
        (b"fLaC", "a FLAC sound"),
        (b"PK\x03\x04", "a ZIP archive or office document"),
        (b"PK\x05\x06", "a ZIP archive or office document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old office document"),
        (b"{\\rtf", "a rich text document"),
        (b"%!PS", "a PostScript file"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"BZh", "a bzip2 archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"\xfd7zXZ\0", "an xz archive"),
        (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
        (b"\x7fELF", "a program"),
        (b"MZ", "a program"),
        (b"SQLite format 3\0", "a database"),
    ];
    let found = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, name)| *name)?;
    // These signatures are plain letters, which a text may begin with as well.
    let ambiguous = [b"MZ".as_slice(), b"BZh", b"ID3", b"RIFF", b"OggS", b"fLaC"];
    if ambiguous.iter().any(|magic| bytes.starts_with(magic)) && plain::is_text(bytes) {
        return None;
    }
    Some(found)
}

fn is_html(bytes: &[u8]) -> bool {
    let head = bytes.get(..512).unwrap_or(bytes);
    let head = String::from_utf8_lossy(head);
    let head = head.trim_start_matches(['\u{FEFF}', '\u{FFFD}']).trim_start().to_ascii_lowercase();
    head.starts_with("<!doctype html")
        || head.starts_with("<html")
        || head.starts_with("<?xml") && head.contains("<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides() {
        let pdf = b"%PDF-1.7\n1 0 obj\nendobj\n";
        for name in ["a.pdf", "a.txt", "a.exe", "a", "report.PDF.md"] {
            assert_eq!(sniff(pdf, name), Ok(Format::Pdf), "{name}");
        }
        assert_eq!(sniff(b"junk before\n%PDF-1.4\n1 0 obj endobj", "a.pdf"), Ok(Format::Pdf));
        assert_eq!(sniff(b"A file begins with %PDF-1.7 and so on.", "a.txt"), Ok(Format::PlainText));
        assert_eq!(sniff("سلام دنیا".as_bytes(), "a.txt"), Ok(Format::PlainText));
        assert_eq!(sniff(b"# Title\n\ntext", "a.md"), Ok(Format::Markdown));
        assert_eq!(sniff(b"# Title\n\ntext", "README"), Ok(Format::PlainText));
        assert_eq!(sniff(b"\xff\xfeh\0i\0", "a.txt"), Ok(Format::PlainText));
        assert_eq!(sniff(b"MZ is a prefix of this text", "a.txt"), Ok(Format::PlainText));
    }

    #[test]
    fn foreign_kinds_are_refused() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        assert_eq!(
            sniff(png, "a.pdf"),
            Err(TextError::ContentMismatch { expected: "PDF", found: "a PNG image" })
        );
        assert_eq!(sniff(png, "a.png"), Err(TextError::UnsupportedType { found: "a PNG image" }));
        assert_eq!(sniff(b"PK\x03\x04rest", "a.pdf").unwrap_err().code(), "content_mismatch");
        assert_eq!(sniff(b"PK\x03\x04rest", "a.docx").unwrap_err().code(), "unsupported_type");
        assert_eq!(sniff(b"MZ\x90\0\x03\0\0\0", "a.pdf").unwrap_err().code(), "content_mismatch");
        assert_eq!(sniff(b"hello", "a.pdf").unwrap_err().code(), "content_mismatch");
        assert_eq!(sniff(b"<!DOCTYPE html><p>x", "a.html").unwrap_err().code(), "unsupported_type");
        assert_eq!(sniff(b"", "a.pdf"), Err(TextError::EmptyFile));
        let garbage: Vec<u8> =
            (0..1000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        assert_eq!(sniff(&garbage, "a.txt").unwrap_err().code(), "content_mismatch");
        assert_eq!(sniff(&garbage, "a.bin").unwrap_err().code(), "unsupported_type");
    }
}
