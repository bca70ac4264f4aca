//! Single-byte encodings and glyph names.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Appends the text that a glyph name stands for; false if the name says nothing.
///
/// Rules of the Adobe Glyph List specification (list, `uniXXXX`, `uXXXXXX`, `_` between components, suffix after a dot).
pub(super) fn push_glyph_name(name: &[u8], out: &mut String) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let before = out.len();
    let stem = name.split('.').next().unwrap_or_default();
    if stem.is_empty() {
        return false;
    }
    if push_component(stem, out) {
        return true;
    }
    for part in stem.split('_') {
        if !push_component(part, out) {
            out.truncate(before);
            return false;
        }
    }
    true
}

fn push_component(name: &str, out: &mut String) -> bool {
    if let Some(codes) = listed(name) {
        out.extend(
            codes.split(' ').filter_map(|code| u32::from_str_radix(code, 16).ok()).filter_map(char::from_u32),
        );
        return true;
    }
    let hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(digits) = name.strip_prefix("uni")
        && digits.len() >= 4
        && digits.len() % 4 == 0
        && hexadecimal(digits)
    {
        let units = digits.as_bytes().chunks(4).filter_map(|four| std::str::from_utf8(four).ok());
        let units = units.filter_map(|four| u16::from_str_radix(four, 16).ok());
        out.extend(char::decode_utf16(units).filter_map(Result::ok));
        return true;
    }
    if let Some(digits) = name.strip_prefix('u')
        && (4..=6).contains(&digits.len())
        && hexadecimal(digits)
        && let Some(letter) = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)
    {
        out.push(letter);
        return true;
    }
    false
}

/// The number in a glyph name that only counts glyphs, such as `g12`, `cid00034`, `glyph7`, `index9`.
pub(super) fn glyph_number(name: &[u8]) -> Option<u16> {
    let name = std::str::from_utf8(name).ok()?;
    let digits = name.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
    let prefix = name.get(..name.len() - digits.len())?;
    matches!(prefix, "g" | "G" | "cid" | "CID" | "glyph" | "gid" | "index" | "c" | "C")
        .then(|| digits.parse().ok())?
}

fn listed(name: &str) -> Option<&'static str> {
    static LIST: OnceLock<Vec<(&'static str, &'static str)>> = OnceLock::new();
    let list = LIST.get_or_init(|| {
        let lines = include_str!("data/glyphlist.txt").lines();
        lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(';')).collect()
    });
    let index = list.binary_search_by(|(listed, _)| (*listed).cmp(name)).ok()?;
    list.get(index).map(|(_, codes)| *codes)
}

/// A single-byte encoding: UTF-16 code units, 0 where undefined.
pub(super) type Table = [u16; 256];

/// The encoding of this name: `Standard`, `MacRoman`, `WinAnsi`, `Symbol`, `ZapfDingbats` or `PdfDoc`.
pub(super) fn table(name: &str) -> Option<&'static Table> {
    static TABLES: OnceLock<HashMap<&'static str, Table>> = OnceLock::new();
    let tables = TABLES.get_or_init(|| {
        let lines = include_str!("data/encodings.txt").lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let (name, codes) = line.split_once(' ')?;
                let mut table = [0; 256];
                for (slot, code) in table.iter_mut().zip(codes.split(' ')) {
                    *slot = u16::from_str_radix(code, 16).unwrap_or_default();
                }
                Some((name, table))
            })
            .collect()
    });
    tables.get(name)
}

/// The character of a byte in an encoding.
pub(super) fn decode(table: &Table, code: u8) -> Option<char> {
    let unit = *table.get(usize::from(code))?;
    (unit != 0).then(|| char::from_u32(u32::from(unit)))?
}

/// Advance widths of the standard fonts in thousandths of an em, by character.
pub(super) fn standard_widths(font: &str) -> Option<&'static HashMap<char, u16>> {
    static WIDTHS: OnceLock<HashMap<&'static str, HashMap<char, u16>>> = OnceLock::new();
    let all = WIDTHS.get_or_init(|| {
        let lines = include_str!("data/core14.txt").lines().filter(|line| !line.starts_with('#'));
        let entry = |pair: &str| {
            let (code, width) = pair.split_once(':')?;
            Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, width.parse().ok()?))
        };
        lines
            .filter_map(|line| line.split_once(' '))
            .map(|(name, pairs)| (name, pairs.split(' ').filter_map(entry).collect()))
            .collect()
    });
    all.get(font)
}

/// The standard font that a font of this name is, or is measured like.
pub(super) fn standard_name(name: &str) -> &'static str {
    let name = name.split_once('+').map_or(name, |(_, rest)| rest).to_ascii_lowercase();
    let bold = name.contains("bold") || name.contains("black") || name.contains("heavy");
    let italic = name.contains("italic") || name.contains("oblique");
    if name.starts_with("symbol") {
        "Symbol"
    } else if name.contains("dingbats") {
        "ZapfDingbats"
    } else if name.contains("courier") || name.contains("mono") || name.contains("consol") {
        "Courier"
    } else if name.contains("times")
        || name.contains("serif") && !name.contains("sans")
        || name.contains("georgia")
    {
        match (bold, italic) {
            (true, true) => "Times-BoldItalic",
            (true, false) => "Times-Bold",
            (false, true) => "Times-Italic",
            (false, false) => "Times-Roman",
        }
    } else if bold {
        "Helvetica-Bold"
    } else {
        "Helvetica"
    }
}

/// Text of a PDF string object (a title, an `/ActualText`): UTF-16 or UTF-8 with their marks, else `PDFDocEncoding`.
pub(super) fn text_string(bytes: &[u8]) -> String {
    let utf16 = |bytes: &[u8], big: bool| {
        let units = bytes.chunks_exact(2).map(|pair| match pair {
            [first, second] if big => u16::from_be_bytes([*first, *second]),
            [first, second] => u16::from_le_bytes([*first, *second]),
            _ => 0,
        });
        char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{FFFD}')).collect()
    };
    match bytes {
        [0xFE, 0xFF, rest @ ..] => utf16(rest, true),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, false),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => {
            let Some(table) = table("PdfDoc") else { return String::new() };
            bytes
                .iter()
                .filter_map(|byte| match byte {
                    b'\t' | b'\n' | b'\r' => Some(' '),
                    byte => decode(table, *byte),
                })
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Option<String> {
        let mut out = String::new();
        push_glyph_name(name.as_bytes(), &mut out).then_some(out)
    }

    #[test]
    fn glyph_names() {
        for (name, text) in [
            ("A", "A"),
            ("fi", "\u{FB01}"),
            ("a.alt", "a"),
            ("f_f_i", "ffi"),
            ("uni06A9", "ک"),
            ("uni00410042", "AB"),
            ("u1F600", "😀"),
            ("afii57414", "\u{0626}"),
            ("a1", "\u{2701}"),
            ("T_h.liga", "Th"),
        ] {
            assert_eq!(named(name).as_deref(), Some(text), "{name}");
        }
        for name in [".notdef", "", "g12", "unknownname", "uni12"] {
            assert_eq!(named(name), None, "{name}");
        }
        assert_eq!(glyph_number(b"g12"), Some(12));
        assert_eq!(glyph_number(b"cid00034"), Some(34));
        assert_eq!(glyph_number(b"g99999"), None);
    }

    #[test]
    fn tables_are_whole() {
        assert_eq!(decode(table("WinAnsi").expect("table"), 0x80), Some('€'));
        assert_eq!(decode(table("MacRoman").expect("table"), 0x8a), Some('ä'));
        assert_eq!(decode(table("Standard").expect("table"), b'\''), Some('’'));
        assert_eq!(decode(table("Symbol").expect("table"), b'a'), Some('α'));
        assert_eq!(standard_widths("Helvetica").and_then(|widths| widths.get(&'A')), Some(&667));
        assert_eq!(text_string(b"\xfe\xff\x06\xa9"), "ک");
    }
}
