//! Plain text in any common encoding.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::document::{Break, RawLine, RawPage};
use crate::{Limits, TextError};

/// How much of a file the guess of its encoding looks at, in bytes.
const DETECTION_BYTES: usize = 256 * 1024;

/// Whether the bytes are text in some encoding: few control characters, none of them NUL.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    let head = bytes.get(..DETECTION_BYTES).unwrap_or(bytes);
    let encoding = encoding_of(head);
    let (text, malformed) = encoding.decode_without_bom_handling(skip_mark(head));
    if malformed && encoding != UTF_8 {
        return false;
    }
    let mut letters = 0_usize;
    let mut controls = 0_usize;
    for letter in text.chars() {
        letters += 1;
        match letter {
            '\0' => return false,
            '\t' | '\n' | '\r' | '\u{c}' | '\u{1b}' | '\u{85}' => {}
            // In the end of the head a character may be cut.
            '\u{FFFD}' | '\u{1}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => controls += 1,
            _ => {}
        }
    }
    letters > 0 && controls * 100 <= letters.max(100)
}

/// The encoding: a byte order mark, else UTF-8 if valid, else UTF-16 by its zero bytes, else the detector's guess.
fn encoding_of(bytes: &[u8]) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return encoding;
    }
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // Only the last character is cut.
        Err(error) => error.error_len().is_none(),
    };
    if valid && !bytes.contains(&0) {
        return UTF_8;
    }
    let head = bytes.get(..4096).unwrap_or(bytes);
    let zeros = |odd: usize| head.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let half = head.len() / 2;
    // Latin text in UTF-16 is zero in every second byte; Arabic has spaces and digits at least.
    if odd * 12 > half && even * 20 < odd {
        return UTF_16LE;
    }
    if even * 12 > half && odd * 20 < even {
        return UTF_16BE;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Allow)
}

fn skip_mark(bytes: &[u8]) -> &[u8] {
    let length = Encoding::for_bom(bytes).map_or(0, |(_, length)| length);
    bytes.get(length..).unwrap_or_default()
}

/// Decodes text in whatever encoding it seems to be in; what cannot be decoded becomes U+FFFD.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let head = bytes.get(..DETECTION_BYTES).unwrap_or(bytes);
    let mut encoding = encoding_of(head);
    if encoding == UTF_8 && std::str::from_utf8(bytes).is_err() && std::str::from_utf8(head).is_ok() {
        encoding = encoding_of(bytes);
    }
    encoding.decode_without_bom_handling(skip_mark(bytes)).0.into_owned()
}

/// Reads plain text: a form feed begins a new page, an empty line a new paragraph.
pub(crate) fn read(bytes: &[u8], limits: &Limits) -> Result<Vec<RawPage>, TextError> {
    let text = decode(bytes);
    let mut pages = Vec::new();
    for (index, part) in text.split('\u{c}').enumerate() {
        let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        if number > limits.max_pages {
            return Err(TextError::TooManyPages { limit: limits.max_pages });
        }
        pages.push(RawPage { number, lines: lines_of(part) });
    }
    // A form feed at the very end is a printer's habit, not a page.
    while pages.len() > 1
        && pages.last().is_some_and(|page| page.lines.iter().all(|line| line.text.trim().is_empty()))
    {
        pages.pop();
    }
    Ok(pages)
}

/// Splits a text into its lines; the line structure of a text file is the author's and is kept.
pub(crate) fn lines_of(text: &str) -> Vec<RawLine> {
    let mut lines = Vec::new();
    let mut gap = false;
    for line in text.split('\n') {
        let line = line.trim_end();
        if line.is_empty() {
            gap = true;
            continue;
        }
        let after = if gap { Break::Paragraph } else { Break::Line };
        lines.push(RawLine { text: line.to_owned(), after, edge: false });
        gap = false;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_text(bytes: &[u8]) -> String {
        read(bytes, &Limits::default()).expect("readable")[0].finish().text
    }

    #[test]
    fn common_encodings() {
        let persian = "این یک متن فارسی است که برای آزمایش نوشته شده است. کتاب‌ها را بخوانید.";
        let utf16: Vec<u8> = persian.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut marked = vec![0xFE, 0xFF];
        marked.extend(persian.encode_utf16().flat_map(u16::to_be_bytes));
        let mut utf8 = vec![0xEF, 0xBB, 0xBF];
        utf8.extend(persian.bytes());
        for bytes in [persian.as_bytes().to_vec(), utf16, marked, utf8] {
            assert!(is_text(&bytes));
            assert_eq!(page_text(&bytes), persian);
        }
        let french = "Le café était fermé à l'été, d'où l'émoi des élèves.";
        let (latin, _, _) = encoding_rs::WINDOWS_1252.encode(french);
        assert_eq!(page_text(&latin), french);
        let arabic = "هذا نص عربي مكتوب لاختبار الترميز القديم في الملفات";
        let (old, _, _) = encoding_rs::WINDOWS_1256.encode(arabic);
        assert_eq!(page_text(&old), arabic);
    }

    #[test]
    fn form_feeds_make_pages() {
        let pages = read(b"one\x0ctwo\n\nthree\x0c", &Limits::default()).expect("readable");
        let texts: Vec<_> = pages.iter().map(|page| page.finish().text).collect();
        assert_eq!(texts, ["one", "two\n\nthree"]);
        let many = "x\u{c}".repeat(501);
        assert_eq!(read(many.as_bytes(), &Limits::default()).unwrap_err().code(), "too_many_pages");
    }
}
