//! Fonts: the codes of a string to text and widths.

use lopdf::{Dictionary, Document, Object, Stream};

use super::cmap::{Code, CodeMap, Collection, ToUnicode};
use super::encoding::{self, Table, push_glyph_name};
use super::objects::{
    as_dict, get, get_array, get_dict, get_name, get_number, get_stream, number, numbers, resolve,
    stream_data,
};
use super::program::Program;

/// A font as far as text needs it.
#[derive(Debug)]
pub(super) struct Font {
    kind: Kind,
    /// Height of an em in units of the font size; 1 but for Type 3.
    pub em: f32,
    /// Whether glyphs follow each other downwards.
    pub vertical: bool,
}

#[derive(Debug)]
enum Kind {
    Simple(Box<Simple>),
    Composite(Box<Composite>),
}

#[derive(Debug)]
struct Simple {
    /// Text by code; empty where unknown.
    texts: Vec<Box<str>>,
    /// Widths by code, in ems.
    widths: Vec<f32>,
}

#[derive(Debug)]
struct Composite {
    map: CodeMap,
    to_unicode: ToUnicode,
    collection: Option<Collection>,
    program: Option<Program>,
    /// Glyph number by CID, two bytes each, of an embedded TrueType font.
    glyph_of_cid: Option<Vec<u8>>,
    default_width: f32,
    /// First CID, last CID, widths of the range (one for all, or one each); sorted, in ems.
    widths: Vec<(u32, u32, Vec<f32>)>,
}

/// What one code draws.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    /// Advance in ems, along the writing direction.
    pub width: f32,
    /// Whether word spacing applies (a single byte 32).
    pub word_space: bool,
}

/// How much font data may be read for one document. Fonts that are not kept are read again and again.
#[derive(Debug)]
pub(super) struct Budget {
    /// Largest stream, in bytes.
    pub stream: usize,
    /// Embedded programs that may still be looked into; the text of further fonts is what their encodings tell.
    pub programs: usize,
    /// Fonts that may still be loaded.
    pub loads: usize,
    /// Bytes of streams that may still be read.
    pub bytes: usize,
    /// Whether a font was refused.
    pub exhausted: bool,
}

impl Budget {
    /// What a predefined character map costs, in bytes of streams.
    const PREDEFINED: usize = 256 << 10;

    pub(super) fn new(stream: usize) -> Self {
        Self { stream, programs: 400, loads: 20_000, bytes: 128 << 20, exhausted: false }
    }

    fn take(&mut self, bytes: usize) -> bool {
        match self.bytes.checked_sub(bytes) {
            Some(left) => self.bytes = left,
            None => self.exhausted = true,
        }
        !self.exhausted
    }

    /// The bytes of a stream, none if it is too large.
    fn read(&mut self, doc: &Document, stream: &Stream, limit: usize) -> Vec<u8> {
        let data = stream_data(doc, stream, limit.min(self.stream));
        // A stream that is too large has cost as much as the limit.
        let cost = data.as_ref().map_or(limit.min(self.stream), Vec::len).max(1024);
        if self.take(cost) { data.unwrap_or_default() } else { Vec::new() }
    }
}

impl Font {
    /// Reads a font dictionary. Whatever is missing or broken is replaced by a guess.
    pub(super) fn load(doc: &Document, dict: &Dictionary, budget: &mut Budget) -> Self {
        match budget.loads.checked_sub(1) {
            Some(left) => budget.loads = left,
            None => budget.exhausted = true,
        }
        match get_name(doc, dict, b"Subtype") {
            Some(b"Type0") => Self::composite(doc, dict, budget),
            Some(b"Type3") => Self::simple(doc, dict, true, budget),
            _ => Self::simple(doc, dict, false, budget),
        }
    }

    /// Calls `show` for each code of a string, having appended its text to `text`.
    pub(super) fn show(
        &self,
        bytes: &[u8],
        text: &mut String,
        mut show: impl FnMut(Shown, &mut String) -> bool,
    ) {
        match &self.kind {
            Kind::Simple(simple) => {
                for byte in bytes {
                    let index = usize::from(*byte);
                    text.push_str(simple.texts.get(index).map_or("", |text| text));
                    let width = simple.widths.get(index).copied().unwrap_or_default();
                    if !show(Shown { width, word_space: *byte == 32 }, text) {
                        return;
                    }
                }
            }
            Kind::Composite(font) => {
                let mut rest = bytes;
                while let Some(code) = font.map.next(rest) {
                    rest = rest.get(usize::from(code.bytes.max(1))..).unwrap_or_default();
                    font.push_text(code, text);
                    let width = if self.vertical { 1.0 } else { font.width(code.cid) };
                    if !show(Shown { width, word_space: code.bytes == 1 && code.value == 32 }, text) {
                        return;
                    }
                }
            }
        }
    }

    fn simple(doc: &Document, dict: &Dictionary, type3: bool, budget: &mut Budget) -> Self {
        let descriptor = get_dict(doc, dict, b"FontDescriptor");
        let base_font =
            String::from_utf8_lossy(get_name(doc, dict, b"BaseFont").unwrap_or_default()).into_owned();
        let to_unicode = load_to_unicode(doc, dict, budget);
        let encoding = SimpleEncoding::load(doc, dict);
        // Reading a program is worth it only where nothing else tells the text.
        let program = if to_unicode.is_empty() && !encoding.is_complete() {
            descriptor.and_then(|descriptor| load_program(doc, descriptor, budget))
        } else {
            None
        };
        let symbolic = descriptor
            .and_then(|descriptor| get_number(doc, descriptor, b"Flags"))
            .is_some_and(|flags| flags.rem_euclid(8.0) >= 4.0);
        let standard = encoding::standard_name(&base_font);
        let fallback = match standard {
            "Symbol" => encoding::table("Symbol"),
            "ZapfDingbats" => encoding::table("ZapfDingbats"),
            _ if program.is_some() || type3 => encoding::table("WinAnsi"),
            _ => encoding::table("Standard"),
        };
        let mut texts = Vec::with_capacity(256);
        for code in 0..=255_u8 {
            let mut text = String::new();
            let known = to_unicode.push(u32::from(code), &mut text) && is_sensible(&text);
            if !known {
                text.clear();
                encoding.push(code, symbolic, program.as_ref(), fallback, &mut text);
            }
            texts.push(text.into_boxed_str());
        }
        let (scale, em) = if type3 { type3_scale(doc, dict) } else { (0.001, 1.0) };
        let widths = simple_widths(doc, dict, descriptor, standard, &texts, scale);
        Self { kind: Kind::Simple(Box::new(Simple { texts, widths })), em, vertical: false }
    }

    fn composite(doc: &Document, dict: &Dictionary, budget: &mut Budget) -> Self {
        let empty = Dictionary::new();
        let descendant = get_array(doc, dict, b"DescendantFonts")
            .and_then(|fonts| fonts.first())
            .and_then(|font| resolve(doc, font))
            .or_else(|| get(doc, dict, b"DescendantFonts"))
            .and_then(as_dict)
            .unwrap_or(&empty);
        let mut vertical = false;
        let map = match get(doc, dict, b"Encoding") {
            Some(Object::Name(name)) => {
                vertical = name.ends_with(b"-V") || name == b"V";
                let known = name.starts_with(b"Identity-") || budget.take(Budget::PREDEFINED);
                known.then(|| CodeMap::predefined(name)).flatten().unwrap_or(CodeMap::Identity)
            }
            Some(Object::Stream(stream)) => {
                vertical = get_number(doc, &stream.dict, b"WMode") == Some(1.0);
                let data = budget.read(doc, stream, usize::MAX);
                CodeMap::embedded(&data, get_name(doc, &stream.dict, b"UseCMap"))
            }
            _ => CodeMap::Identity,
        };
        let to_unicode = load_to_unicode(doc, dict, budget);
        let collection = get_dict(doc, descendant, b"CIDSystemInfo").and_then(|info| {
            let part = |key| match get(doc, info, key) {
                Some(Object::String(bytes, _)) => Some(bytes.as_slice()),
                _ => None,
            };
            let (registry, ordering) = (part(b"Registry")?, part(b"Ordering")?);
            // Most fonts are of the collection "Identity", which has no map.
            let costs = !matches!(ordering, b"Identity" | b"UCS");
            (!costs || budget.take(Budget::PREDEFINED)).then(|| Collection::new(registry, ordering))?
        });
        let program = if to_unicode.is_empty() && collection.is_none() {
            get_dict(doc, descendant, b"FontDescriptor")
                .and_then(|descriptor| load_program(doc, descriptor, budget))
        } else {
            None
        };
        let glyph_of_cid = get_stream(doc, descendant, b"CIDToGIDMap")
            .filter(|_| program.is_some())
            .map(|stream| budget.read(doc, stream, 1 << 18));
        let composite = Composite {
            map,
            to_unicode,
            collection,
            program,
            glyph_of_cid,
            default_width: get_number(doc, descendant, b"DW").unwrap_or(1000.0) / 1000.0,
            widths: composite_widths(doc, descendant),
        };
        Self { kind: Kind::Composite(Box::new(composite)), em: 1.0, vertical }
    }
}

impl Composite {
    fn push_text(&self, code: Code, out: &mut String) {
        let before = out.len();
        if self.to_unicode.push(code.value, out) {
            if out.get(before..).is_some_and(is_sensible) {
                return;
            }
            out.truncate(before);
        }
        if self.map.push_unicode(code, out) {
            return;
        }
        if let Some(collection) = &self.collection
            && collection.push(code.cid, out)
        {
            return;
        }
        let Some(program) = &self.program else {
            // Not embedded and numbered by glyph: the usual system fonts have ASCII from glyph 3 on.
            if self.collection.is_none()
                && self.to_unicode.is_empty()
                && matches!(self.map, CodeMap::Identity)
            {
                out.extend(
                    Some(code.cid)
                        .filter(|cid| (3..=97).contains(cid))
                        .and_then(|cid| char::from_u32(cid + 29)),
                );
            }
            return;
        };
        let text = match &self.glyph_of_cid {
            Some(map) => {
                let at = usize::try_from(code.cid).unwrap_or(usize::MAX).saturating_mul(2);
                match map.get(at..at.saturating_add(2)) {
                    Some([high, low]) => program.glyph(u16::from_be_bytes([*high, *low])),
                    _ => None,
                }
            }
            None => program.cid(code.cid),
        };
        out.push_str(text.unwrap_or_default());
    }

    fn width(&self, cid: u32) -> f32 {
        let after = self.widths.partition_point(|range| range.0 <= cid);
        let Some((low, high, widths)) = after.checked_sub(1).and_then(|index| self.widths.get(index)) else {
            return self.default_width;
        };
        if cid > *high {
            return self.default_width;
        }
        let offset = usize::try_from(cid - low).unwrap_or_default();
        widths.get(offset).or(widths.first()).copied().unwrap_or(self.default_width)
    }
}

/// A text that a map may well say: not control characters alone.
fn is_sensible(text: &str) -> bool {
    text.chars().any(|letter| !letter.is_control() && !matches!(letter, '\u{FFFD}' | '\u{FFFF}' | '\u{FFFE}'))
}

fn load_to_unicode(doc: &Document, dict: &Dictionary, budget: &mut Budget) -> ToUnicode {
    match get(doc, dict, b"ToUnicode") {
        Some(Object::Stream(stream)) => ToUnicode::parse(&budget.read(doc, stream, 8 << 20)),
        Some(Object::Name(name)) if name.starts_with(b"Identity") => ToUnicode::identity(),
        _ => ToUnicode::default(),
    }
}

fn load_program(doc: &Document, descriptor: &Dictionary, budget: &mut Budget) -> Option<Program> {
    let keys: [&[u8]; 3] = [b"FontFile2", b"FontFile3", b"FontFile"];
    let stream = keys.iter().find_map(|key| get_stream(doc, descriptor, key))?;
    budget.programs = budget.programs.checked_sub(1)?;
    Some(Program::parse(&budget.read(doc, stream, usize::MAX)))
}

/// `/Encoding` of a simple font.
struct SimpleEncoding {
    base: Option<&'static Table>,
    /// Names by code.
    differences: Vec<Option<Box<[u8]>>>,
}

impl SimpleEncoding {
    fn load(doc: &Document, dict: &Dictionary) -> Self {
        let named = |name: Option<&[u8]>| match name? {
            b"WinAnsiEncoding" => encoding::table("WinAnsi"),
            b"MacRomanEncoding" => encoding::table("MacRoman"),
            b"StandardEncoding" => encoding::table("Standard"),
            b"PDFDocEncoding" => encoding::table("PdfDoc"),
            _ => None,
        };
        let mut differences = Vec::new();
        let base = match get(doc, dict, b"Encoding") {
            Some(Object::Name(name)) => named(Some(name)),
            Some(object) => {
                let Some(dict) = as_dict(object) else { return Self { base: None, differences } };
                if let Some(items) = get_array(doc, dict, b"Differences") {
                    differences.resize(256, None);
                    let mut code = 0_usize;
                    for item in items.iter().take(4096).filter_map(|item| resolve(doc, item)) {
                        match item {
                            Object::Integer(first) => code = usize::try_from(*first).unwrap_or(usize::MAX),
                            Object::Name(name) => {
                                if let Some(slot) = differences.get_mut(code) {
                                    *slot = Some(name.as_slice().into());
                                }
                                code = code.saturating_add(1);
                            }
                            _ => {}
                        }
                    }
                }
                named(get_name(doc, dict, b"BaseEncoding"))
            }
            None => None,
        };
        Self { base, differences }
    }

    /// Whether it tells the text of every code it mentions, so that the font program need not be read.
    fn is_complete(&self) -> bool {
        let mut text = String::new();
        let names_known = self.differences.iter().flatten().all(|name| {
            text.clear();
            name.as_ref() == b".notdef" || push_glyph_name(name, &mut text)
        });
        names_known && self.base.is_some()
    }

    fn push(
        &self,
        code: u8,
        symbolic: bool,
        program: Option<&Program>,
        fallback: Option<&Table>,
        out: &mut String,
    ) {
        let base = |table: Option<&Table>, out: &mut String| {
            let letter = table.and_then(|table| encoding::decode(table, code));
            out.extend(letter);
            letter.is_some()
        };
        let own = |out: &mut String| {
            let text = program.and_then(|program| program.code(code));
            out.push_str(text.unwrap_or_default());
            text.is_some()
        };
        if let Some(Some(name)) = self.differences.get(usize::from(code)) {
            if name.as_ref() == b".notdef" {
                return;
            }
            let number = encoding::glyph_number(name);
            let by_number = || program.zip(number).and_then(|(program, number)| program.glyph(number));
            if push_glyph_name(name, out) || own(out) {
                return;
            }
            if let Some(text) = by_number() {
                out.push_str(text);
                return;
            }
            // A name of the font's own making: the code is most often that of the character.
            base(fallback, out);
            return;
        }
        if symbolic && own(out) {
            return;
        }
        if base(self.base, out) || own(out) {
            return;
        }
        base(fallback, out);
    }
}

/// The scale of widths and the height of an em of a Type 3 font, in units of the font size.
fn type3_scale(doc: &Document, dict: &Dictionary) -> (f32, f32) {
    let matrix = get_array(doc, dict, b"FontMatrix").and_then(|items| numbers::<6>(doc, items));
    let [a, _, _, d, _, _] = matrix.unwrap_or([0.001, 0.0, 0.0, 0.001, 0.0, 0.0]);
    let height = get_array(doc, dict, b"FontBBox")
        .and_then(|items| numbers::<4>(doc, items))
        .map_or(0.0, |[_, y0, _, y1]| (y1 - y0).abs());
    let em = height * d.abs();
    (a, if (0.2..=5.0).contains(&em) { em } else { 1.0 })
}

fn simple_widths(
    doc: &Document,
    dict: &Dictionary,
    descriptor: Option<&Dictionary>,
    standard: &str,
    texts: &[Box<str>],
    scale: f32,
) -> Vec<f32> {
    let missing = descriptor.and_then(|descriptor| get_number(doc, descriptor, b"MissingWidth"));
    if let Some(items) = get_array(doc, dict, b"Widths") {
        let first = get_number(doc, dict, b"FirstChar").unwrap_or(0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        let first = first.clamp(0.0, 255.0) as usize;
        let mut widths = vec![missing.unwrap_or(0.0) * scale; 256];
        for (slot, item) in widths.iter_mut().skip(first).zip(items) {
            if let Some(width) = resolve(doc, item).and_then(number) {
                *slot = width * scale;
            }
        }
        return widths;
    }
    let metrics = encoding::standard_widths(standard);
    let default =
        if standard == "Courier" { 600.0 } else { missing.filter(|width| *width > 0.0).unwrap_or(500.0) };
    texts
        .iter()
        .map(|text| {
            let width = text.chars().next().and_then(|letter| metrics?.get(&letter).copied());
            width.map_or(default, f32::from) * 0.001
        })
        .collect()
}

fn composite_widths(doc: &Document, descendant: &Dictionary) -> Vec<(u32, u32, Vec<f32>)> {
    const MAX_WIDTHS: usize = 70_000;
    let mut total = 0;
    let mut ranges = Vec::new();
    let Some(items) = get_array(doc, descendant, b"W") else { return ranges };
    let cid = |object: &Object| match object {
        Object::Integer(value) => u32::try_from(*value).ok(),
        _ => None,
    };
    let mut items = items.iter().filter_map(|item| resolve(doc, item));
    while let Some(first) = items.next() {
        let Some(second) = items.next() else { break };
        let Some(low) = cid(first) else { continue };
        if let Object::Array(widths) = second {
            let widths: Vec<f32> = widths
                .iter()
                .take(MAX_WIDTHS)
                .map(|width| resolve(doc, width).and_then(number).unwrap_or(0.0) / 1000.0)
                .collect();
            let count = u32::try_from(widths.len()).unwrap_or(u32::MAX);
            total += widths.len();
            if count > 0 {
                ranges.push((low, low.saturating_add(count - 1), widths));
            }
        } else {
            let Some(high) = cid(second) else { continue };
            let Some(width) = items.next().and_then(number) else { break };
            total += 1;
            ranges.push((low, high.max(low), vec![width / 1000.0]));
        }
        // One array may be named many times over.
        if total >= MAX_WIDTHS {
            break;
        }
    }
    ranges.sort_by_key(|range| range.0);
    ranges
}
