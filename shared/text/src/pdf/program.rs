//! What an embedded font program can say about its glyphs: the last resort for fonts without `/ToUnicode`.

use std::collections::HashMap;

use ttf_parser::{Face, GlyphId, PlatformId, cff};

use super::encoding::{self, push_glyph_name};

/// The text of an embedded font's glyphs and the codes of its own encoding.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// Text by glyph number.
    glyphs: HashMap<u16, Box<str>>,
    /// Text by code, in the font's own single-byte encoding.
    codes: HashMap<u8, Box<str>>,
    /// Glyph number by CID, for fonts that number their glyphs apart.
    cids: Option<HashMap<u16, u16>>,
}

impl Program {
    pub(super) fn parse(data: &[u8]) -> Self {
        if data.starts_with(b"%!") || data.first() == Some(&0x80) {
            return Self::type1(data);
        }
        if let Ok(face) = Face::parse(data, 0) {
            return Self::sfnt(&face);
        }
        cff::Table::parse(data).map_or_else(Self::default, |table| Self::compact(&table))
    }

    /// Text of a CID of a composite font without a map from CIDs to glyphs.
    pub(super) fn cid(&self, cid: u32) -> Option<&str> {
        let cid = u16::try_from(cid).ok()?;
        let glyph = match &self.cids {
            Some(map) => *map.get(&cid)?,
            None => cid,
        };
        self.glyph(glyph)
    }

    pub(super) fn glyph(&self, glyph: u16) -> Option<&str> {
        self.glyphs.get(&glyph).map(|text| &**text)
    }

    pub(super) fn code(&self, code: u8) -> Option<&str> {
        self.codes.get(&code).map(|text| &**text)
    }

    fn sfnt(face: &Face<'_>) -> Self {
        let mut program = Self::default();
        let subtables: Vec<_> =
            face.tables().cmap.map(|cmap| cmap.subtables.into_iter().take(16).collect()).unwrap_or_default();
        // Looked up the long way round: the subtables' own iteration is unbounded on a hostile font.
        let plane = (0x20..=0xFFFF_u32).chain(0x1_D400..=0x1_D7FF).chain(0x1_F300..=0x1_FAFF);
        let unicode: Vec<_> = subtables.iter().filter(|table| table.is_unicode()).take(2).collect();
        if !unicode.is_empty() {
            for letter in plane.filter_map(char::from_u32) {
                if matches!(letter, '\u{E000}'..='\u{F8FF}') {
                    continue;
                }
                if let Some(glyph) = unicode.iter().find_map(|table| table.glyph_index(u32::from(letter))) {
                    program
                        .glyphs
                        .entry(glyph.0)
                        .or_insert_with(|| Box::from(letter.encode_utf8(&mut [0; 4]) as &str));
                }
            }
        }
        for glyph in 0..face.number_of_glyphs() {
            if !program.glyphs.contains_key(&glyph) {
                program.name(glyph, face.glyph_name(GlyphId(glyph)));
            }
        }
        if let Some(table) = face.tables().cff {
            program.add_cids(&table, face.number_of_glyphs());
        }
        let mac = encoding::table("MacRoman");
        for code in 0..=255_u8 {
            for table in &subtables {
                let symbol = table.platform_id == PlatformId::Windows && table.encoding_id == 0;
                let roman = table.platform_id == PlatformId::Macintosh;
                let glyph = if symbol {
                    [0xF000, 0, 0xF100, 0xF200]
                        .iter()
                        .find_map(|base| table.glyph_index(base + u32::from(code)))
                } else if roman {
                    table.glyph_index(u32::from(code))
                } else {
                    None
                };
                let Some(glyph) = glyph.filter(|glyph| glyph.0 != 0) else { continue };
                let text = match program.glyph(glyph.0) {
                    Some(text) => Some(Box::from(text)),
                    None => mac
                        .and_then(|table| encoding::decode(table, code))
                        .map(|letter| Box::from(letter.encode_utf8(&mut [0; 4]) as &str)),
                };
                if let Some(text) = text {
                    program.codes.entry(code).or_insert(text);
                }
            }
        }
        program
    }

    fn compact(table: &cff::Table<'_>) -> Self {
        let mut program = Self::default();
        let count = table.number_of_glyphs();
        for glyph in 0..count {
            program.name(glyph, table.glyph_name(GlyphId(glyph)));
        }
        program.add_cids(table, count);
        for code in 0..=255_u8 {
            if let Some(glyph) = table.glyph_index(code)
                && let Some(text) = program.glyph(glyph.0).map(Box::from)
            {
                program.codes.insert(code, text);
            }
        }
        program
    }

    fn add_cids(&mut self, table: &cff::Table<'_>, count: u16) {
        let cids: HashMap<u16, u16> =
            (0..count).filter_map(|glyph| table.glyph_cid(GlyphId(glyph)).map(|cid| (cid, glyph))).collect();
        if !cids.is_empty() {
            self.cids = Some(cids);
        }
    }

    fn name(&mut self, glyph: u16, name: Option<&str>) {
        let mut text = String::new();
        if name.is_some_and(|name| push_glyph_name(name.as_bytes(), &mut text)) {
            self.glyphs.insert(glyph, text.into_boxed_str());
        }
    }

    /// The `/Encoding` array in the clear part of a Type 1 program: `dup 65 /A put`.
    fn type1(data: &[u8]) -> Self {
        let mut program = Self::default();
        let clear = data.windows(5).position(|window| window == b"eexec").unwrap_or(data.len()).min(200_000);
        let clear = String::from_utf8_lossy(data.get(..clear).unwrap_or_default());
        let Some((_, encoding)) = clear.split_once("/Encoding") else { return program };
        let mut words =
            encoding.split(|letter: char| letter.is_whitespace()).filter(|word| !word.is_empty()).peekable();
        if words.peek() == Some(&"StandardEncoding") {
            return program;
        }
        while let Some(word) = words.next() {
            match word {
                "def" | "readonly" if !program.codes.is_empty() => break,
                "dup" => {
                    let (Some(code), Some(name)) = (words.next(), words.next()) else { break };
                    // Some write the code and the name without a space between them.
                    let (code, name) = code.split_once('/').unwrap_or((code, name));
                    let code = match code.split_once('#') {
                        Some((base, digits)) => base
                            .parse()
                            .ok()
                            .filter(|base| (2..=36).contains(base))
                            .and_then(|base| u8::from_str_radix(digits, base).ok()),
                        None => code.parse().ok(),
                    };
                    let mut text = String::new();
                    if let Some(code) = code
                        && push_glyph_name(name.trim_start_matches('/').as_bytes(), &mut text)
                    {
                        program.codes.insert(code, text.into_boxed_str());
                    }
                }
                _ => {}
            }
        }
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type1_encoding() {
        let program = Program::parse(
            b"%!PS-AdobeFont-1.0: X\n/Encoding 256 array\n0 1 255 {1 index exch /.notdef put} for\ndup 65 /alpha put\ndup 8#102 /fi put\nreadonly def\ncurrentfile eexec\x01\x02",
        );
        assert_eq!(program.code(65), Some("α"));
        assert_eq!(program.code(66), Some("\u{FB01}"));
        assert_eq!(program.code(67), None);
    }

    #[test]
    fn garbage_says_nothing() {
        for data in [b"".as_slice(), b"\0\x01\0\0\xff\xff", b"OTTO", b"%!", b"\x01\0\x04\x04\xff\xff\xff"] {
            assert!(Program::parse(data).codes.is_empty());
        }
    }
}
