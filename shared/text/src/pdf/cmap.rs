//! Character maps: codes to Unicode (`/ToUnicode`) and codes to glyph numbers (`/Encoding` of composite fonts).

use std::collections::HashMap;

use hayro_cmap::{BfString, CMapName, load_embedded};

use super::lex::{Lexer, Operand, Token};

/// Most entries kept of one map.
const MAX_ENTRIES: usize = 200_000;
/// Most operands waiting for an operator.
const MAX_OPERANDS: usize = 70_000;

/// A `/ToUnicode` map, read tolerantly.
#[derive(Debug, Default)]
pub(super) struct ToUnicode {
    single: HashMap<u32, Box<str>>,
    /// First code, last code, text of the first; sorted by the first code.
    ranges: Vec<(u32, u32, Box<str>)>,
    /// Every code is the character itself.
    identity: bool,
}

impl ToUnicode {
    pub(super) fn identity() -> Self {
        Self { identity: true, ..Self::default() }
    }

    pub(super) fn parse(data: &[u8]) -> Self {
        let mut map = Self::default();
        for_each_section(data, |operator, operands| match operator {
            b"endbfchar" => {
                for pair in operands.chunks_exact(2) {
                    if let [Operand::String(code), target] = pair
                        && let Some(text) = target_text(target)
                        && map.single.len() < MAX_ENTRIES
                    {
                        map.single.insert(code_value(code), text);
                    }
                }
            }
            b"endbfrange" => {
                for triple in operands.chunks_exact(3) {
                    let [Operand::String(low), Operand::String(high), target] = triple else { continue };
                    map.range(code_value(low), code_value(high), target);
                }
            }
            _ => {}
        });
        map.ranges.sort_by_key(|range| range.0);
        map
    }

    fn range(&mut self, low: u32, high: u32, target: &Operand<'_>) {
        if high < low || self.ranges.len() >= MAX_ENTRIES {
            return;
        }
        match target {
            Operand::Array(items) => {
                for (code, item) in (low..=high).zip(items) {
                    if let Some(text) = target_text(item)
                        && self.single.len() < MAX_ENTRIES
                    {
                        self.single.insert(code, text);
                    }
                }
            }
            _ => {
                if let Some(text) = target_text(target) {
                    self.ranges.push((low, high, text));
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.single.is_empty() && self.ranges.is_empty() && !self.identity
    }

    /// Appends the text of a code; false if the map does not have it.
    pub(super) fn push(&self, code: u32, out: &mut String) -> bool {
        if let Some(text) = self.single.get(&code) {
            out.push_str(text);
            return true;
        }
        let after = self.ranges.partition_point(|range| range.0 <= code);
        if let Some((low, _, text)) =
            self.ranges.get(after.saturating_sub(1)).filter(|(low, high, _)| (*low..=*high).contains(&code))
        {
            // The last character of the text goes up with the code.
            let mut letters = text.chars();
            let Some(last) = letters.next_back() else { return false };
            let Some(letter) = u32::from(last).checked_add(code - low).and_then(char::from_u32) else {
                return false;
            };
            out.push_str(letters.as_str());
            out.push(letter);
            return true;
        }
        if self.identity
            && let Some(letter) = char::from_u32(code)
        {
            out.push(letter);
            return true;
        }
        false
    }
}

/// Codes of a composite font to glyph numbers (CIDs).
#[derive(Debug)]
pub(super) enum CodeMap {
    /// Two bytes are the CID.
    Identity,
    /// A predefined map; for the Unicode ones the code itself is UTF-16.
    Predefined { map: Box<hayro_cmap::CMap>, unicode: bool },
    /// A map embedded in the file.
    Embedded(Embedded),
}

/// A map embedded in the file.
#[derive(Debug, Default)]
pub(super) struct Embedded {
    /// Bytes of a code, first and last code.
    spaces: Vec<(u8, u32, u32)>,
    /// Bytes of a code, first and last code, CID of the first; sorted.
    ranges: Vec<(u8, u32, u32, u32)>,
    base: Option<Box<CodeMap>>,
}

/// A code read from a string.
#[derive(Debug, Clone, Copy)]
pub(super) struct Code {
    pub value: u32,
    pub bytes: u8,
    pub cid: u32,
}

impl CodeMap {
    /// The map of this name, if there is one.
    pub(super) fn predefined(name: &[u8]) -> Option<Self> {
        if matches!(name, b"Identity-H" | b"Identity-V") {
            return Some(Self::Identity);
        }
        let data = load_embedded(CMapName::from_bytes(name))?;
        let map = hayro_cmap::CMap::parse(data, load_embedded)?;
        let unicode = [b"UCS2".as_slice(), b"UTF16"]
            .iter()
            .any(|part| name.starts_with(b"Uni") && name.windows(part.len()).any(|window| window == *part));
        Some(Self::Predefined { map: Box::new(map), unicode })
    }

    /// Reads an embedded map. `base` is its `/UseCMap`, if that is a name.
    pub(super) fn embedded(data: &[u8], base: Option<&[u8]>) -> Self {
        let mut map = Embedded { base: base.and_then(Self::predefined).map(Box::new), ..Embedded::default() };
        for_each_section(data, |operator, operands| match operator {
            b"usecmap" => {
                if let (None, Some(name)) = (&map.base, operands.last().and_then(Operand::name)) {
                    map.base = Self::predefined(name).map(Box::new);
                }
            }
            b"endcodespacerange" => {
                for pair in operands.chunks_exact(2) {
                    if let [Operand::String(low), Operand::String(high)] = pair
                        && map.spaces.len() < 1000
                        && let Ok(bytes @ 1..=4) = u8::try_from(low.len())
                    {
                        map.spaces.push((bytes, code_value(low), code_value(high)));
                    }
                }
            }
            b"endcidchar" => {
                for pair in operands.chunks_exact(2) {
                    if let [Operand::String(code), Operand::Number(cid)] = pair {
                        map.range(code, code, *cid);
                    }
                }
            }
            b"endcidrange" => {
                for triple in operands.chunks_exact(3) {
                    if let [Operand::String(low), Operand::String(high), Operand::Number(cid)] = triple {
                        map.range(low, high, *cid);
                    }
                }
            }
            _ => {}
        });
        map.ranges.sort_unstable();
        if map.ranges.is_empty() && map.base.is_none() {
            // It says nothing about glyphs: most likely a copy of Identity.
            map.base = Some(Box::new(Self::Identity));
        }
        Self::Embedded(map)
    }

    /// Takes the next code from the front of `bytes`.
    pub(super) fn next(&self, bytes: &[u8]) -> Option<Code> {
        let first = u32::from(*bytes.first()?);
        match self {
            Self::Identity => Some(match bytes.get(1) {
                Some(second) => {
                    let value = first << 8 | u32::from(*second);
                    Code { value, bytes: 2, cid: value }
                }
                None => Code { value: first, bytes: 1, cid: first },
            }),
            Self::Predefined { map, .. } => {
                let mut value = 0;
                for (length, byte) in (1_u8..=4).zip(bytes) {
                    value = value << 8 | u32::from(*byte);
                    if let Some(cid) = map.lookup_cid_code(value, length) {
                        return Some(Code { value, bytes: length, cid });
                    }
                }
                Some(Code { value: first, bytes: if bytes.len() > 1 { 2 } else { 1 }, cid: 0 })
            }
            Self::Embedded(map) => map.next(bytes),
        }
    }

    /// Appends the text of a code when the code itself is UTF-16.
    pub(super) fn push_unicode(&self, code: Code, out: &mut String) -> bool {
        match self {
            Self::Predefined { unicode: true, .. } => {
                let (high, low) = (code.value >> 16, code.value & 0xffff);
                let letter = if high == 0 {
                    char::from_u32(low)
                } else {
                    let units = [high, low].map(|unit| u16::try_from(unit).unwrap_or_default());
                    char::decode_utf16(units).next().and_then(Result::ok)
                };
                letter.is_some_and(|letter| {
                    out.push(letter);
                    true
                })
            }
            Self::Embedded(Embedded { base: Some(base), .. }) => base.push_unicode(code, out),
            _ => false,
        }
    }
}

impl Embedded {
    fn range(&mut self, low: &[u8], high: &[u8], cid: f32) {
        if let Ok(bytes @ 1..=4) = u8::try_from(low.len())
            && self.ranges.len() < MAX_ENTRIES
            && (0.0..=65_535.0).contains(&cid)
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the range was checked"
            )]
            self.ranges.push((bytes, code_value(low), code_value(high), cid as u32));
        }
    }

    fn cid(&self, bytes: u8, value: u32) -> Option<u32> {
        let after = self.ranges.partition_point(|range| (range.0, range.1) <= (bytes, value));
        let (length, low, high, cid) = self.ranges.get(after.checked_sub(1)?)?;
        (*length == bytes && (*low..=*high).contains(&value)).then(|| cid.saturating_add(value - low))
    }

    fn next(&self, bytes: &[u8]) -> Option<Code> {
        let mut value = 0;
        let mut in_space = None;
        for (length, byte) in (1_u8..=4).zip(bytes) {
            value = value << 8 | u32::from(*byte);
            if let Some(cid) = self.cid(length, value) {
                return Some(Code { value, bytes: length, cid });
            }
            let fits =
                self.spaces.iter().any(|(space, low, high)| *space == length && in_range(value, *low, *high));
            if in_space.is_none() && fits {
                in_space = Some(Code { value, bytes: length, cid: 0 });
            }
        }
        if let Some(base) = &self.base {
            return base.next(bytes);
        }
        in_space.or_else(|| {
            let bytes_of_code = if bytes.len() > 1 { 2 } else { 1 };
            let value = bytes.iter().take(bytes_of_code).fold(0, |value, byte| value << 8 | u32::from(*byte));
            Some(Code { value, bytes: if bytes.len() > 1 { 2 } else { 1 }, cid: 0 })
        })
    }
}

/// Each byte of a code must be within the bytes of the borders of its space.
fn in_range(value: u32, low: u32, high: u32) -> bool {
    value
        .to_be_bytes()
        .iter()
        .zip(low.to_be_bytes())
        .zip(high.to_be_bytes())
        .all(|((byte, low), high)| (low..=high).contains(byte))
}

/// Unicode of the CIDs of a character collection such as `Adobe-Japan1`.
#[derive(Debug)]
pub(super) struct Collection(hayro_cmap::CMap);

impl Collection {
    pub(super) fn new(registry: &[u8], ordering: &[u8]) -> Option<Self> {
        let family = hayro_cmap::CidFamily::from_registry_ordering(registry, ordering);
        let data = load_embedded(family.ucs2_cmap()?)?;
        hayro_cmap::CMap::parse(data, load_embedded).map(Self)
    }

    pub(super) fn push(&self, cid: u32, out: &mut String) -> bool {
        match self.0.lookup_bf_string(cid) {
            Some(BfString::Char(letter)) => out.push(letter),
            Some(BfString::String(text)) => out.push_str(&text),
            None => return false,
        }
        true
    }
}

/// Calls `section` at each operator with the operands before it.
fn for_each_section<'a>(data: &'a [u8], mut section: impl FnMut(&'a [u8], &[Operand<'a>])) {
    let mut lexer = Lexer::new(data);
    let mut operands = Vec::new();
    while let Some(token) = lexer.token() {
        match token {
            Token::Operand(operand) if operands.len() < MAX_OPERANDS => operands.push(operand),
            Token::Operand(_) => {}
            Token::Operator(operator) => {
                section(operator, &operands);
                operands.clear();
            }
        }
    }
}

fn code_value(bytes: &[u8]) -> u32 {
    bytes.iter().rev().take(4).rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

/// The text a map assigns: UTF-16, or a number some writers put instead. Nothing for what is no text.
fn target_text(target: &Operand<'_>) -> Option<Box<str>> {
    let text: String = match target {
        Operand::String(bytes) if bytes.len() == 1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        Operand::String(bytes) => {
            let units = bytes.chunks_exact(2).take(512).map(|pair| match pair {
                [high, low] => u16::from(*high) << 8 | u16::from(*low),
                _ => 0,
            });
            char::decode_utf16(units).filter_map(Result::ok).collect()
        }
        Operand::Name(name) => {
            let mut text = String::new();
            super::encoding::push_glyph_name(name, &mut text);
            text
        }
        _ => return None,
    };
    let text: String = text.chars().filter(|letter| *letter != '\0').collect();
    (!text.is_empty() && text != "\u{FFFD}").then(|| text.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_unicode_is_read_tolerantly() {
        let map = ToUnicode::parse(
            b"1 begincodespacerange <00> <ff> endcodespacerange
              2 beginbfchar <01> <0041> <0002> <00660069> endbfchar
              2 beginbfrange <10> <12> <0061> <20><21>[<0078> <D83DDE00>] endbfrange",
        );
        let text = |code| {
            let mut out = String::new();
            map.push(code, &mut out).then_some(out)
        };
        assert_eq!(text(1).as_deref(), Some("A"));
        assert_eq!(text(2).as_deref(), Some("fi"));
        assert_eq!(text(0x11).as_deref(), Some("b"));
        assert_eq!(text(0x21).as_deref(), Some("😀"));
        assert_eq!(text(0x22), None);
    }

    #[test]
    fn predefined_maps_read_codes_of_one_and_two_bytes() {
        let map = CodeMap::predefined(b"90ms-RKSJ-H").expect("known");
        let japan = Collection::new(b"Adobe", b"Japan1").expect("known");
        let (text, _, _) = encoding_rs::SHIFT_JIS.encode("Aこ漢");
        let mut rest: &[u8] = &text;
        let mut out = String::new();
        while let Some(code) = map.next(rest) {
            japan.push(code.cid, &mut out);
            rest = &rest[usize::from(code.bytes)..];
        }
        assert_eq!(out, "Aこ漢");
    }

    #[test]
    fn embedded_maps() {
        let map = CodeMap::embedded(
            b"1 begincodespacerange <00> <80> endcodespacerange 1 begincidrange <8100> <81ff> 100 endcidrange",
            None,
        );
        let code = map.next(b"\x81\x05").expect("code");
        assert_eq!((code.bytes, code.cid), (2, 105));
        assert_eq!(map.next(b"\x41\x05").expect("code").bytes, 1);
    }
}
