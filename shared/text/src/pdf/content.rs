//! The content-stream interpreter: operators to glyphs with their places on the page.
//!
//! Section numbers are those of ISO 32000-1.

use std::collections::HashMap;
use std::rc::Rc;

use lopdf::{Dictionary, Document, Object, ObjectId};

use super::encoding::text_string;
use super::font::{Budget, Font};
use super::lex::{Lexer, Operand, Token};
use super::matrix::{Matrix, Rect};
use super::objects::{as_dict, get, get_array, get_dict, get_name, numbers, resolve, stream_data};
use crate::{Limits, TextError};

/// How deep `q` is remembered; a deeper one is counted only.
const MAX_SAVED: usize = 512;
/// How deep marked content is remembered.
const MAX_MARKED: usize = 512;
/// Fonts kept for the pages to come.
const MAX_FONTS: usize = 256;
/// Longest `/ActualText`, in bytes.
const MAX_ACTUAL_TEXT: usize = 10_000;

/// A glyph, or several with one text, on the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyph {
    /// Start of the baseline.
    pub x: f32,
    pub y: f32,
    /// Advance along the baseline.
    pub dx: f32,
    pub dy: f32,
    /// Direction of the baseline, a unit vector (the advance may be zero).
    pub ux: f32,
    pub uy: f32,
    /// Height of an em.
    pub size: f32,
    /// Its text: bytes in [`Glyphs::text`].
    pub from: u32,
    pub to: u32,
}

/// The glyphs of a page, in the order they are drawn.
#[derive(Debug, Default)]
pub(super) struct Glyphs {
    pub glyphs: Vec<Glyph>,
    pub text: String,
}

/// Fonts of a document, kept between its pages.
#[derive(Debug)]
pub(super) struct Fonts {
    loaded: HashMap<ObjectId, Rc<Font>>,
    budget: Budget,
}

impl Fonts {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { loaded: HashMap::new(), budget: Budget::new(limits.max_stream_bytes) }
    }

    fn get(&mut self, doc: &Document, fonts: &Dictionary, name: &[u8]) -> Option<Rc<Font>> {
        let entry = fonts.get(name).ok()?;
        let id = match entry {
            Object::Reference(id) => Some(*id),
            _ => None,
        };
        if let Some(font) = id.and_then(|id| self.loaded.get(&id)) {
            return Some(Rc::clone(font));
        }
        let dict = as_dict(resolve(doc, entry)?)?;
        let font = Rc::new(Font::load(doc, dict, &mut self.budget));
        if let Some(id) = id {
            if self.loaded.len() >= MAX_FONTS {
                self.loaded.clear();
            }
            self.loaded.insert(id, Rc::clone(&font));
        }
        Some(font)
    }
}

/// Text state (9.3) and the transformation matrix.
#[derive(Debug, Clone)]
struct State {
    ctm: Matrix,
    font: Option<Rc<Font>>,
    size: f32,
    char_space: f32,
    word_space: f32,
    scale: f32,
    leading: f32,
    rise: f32,
}

/// An open marked-content sequence (14.6).
struct Marked {
    /// Glyphs before it.
    start: usize,
    /// What replaces its glyphs (14.9.4).
    actual_text: Option<String>,
}

/// Interprets the content of one page and its annotations.
pub(super) struct Interpreter<'d> {
    doc: &'d Document,
    limits: &'d Limits,
    fonts: &'d mut Fonts,
    /// Fonts written directly into resources, by address: they have no number.
    direct_fonts: HashMap<(usize, Vec<u8>), Option<Rc<Font>>>,
    out: Glyphs,
    /// What is drawn outside is not on the page.
    bounds: Rect,
    state: State,
    /// The state at the beginning of the page.
    first: State,
    saved: Vec<State>,
    unsaved: usize,
    matrix: Matrix,
    line_matrix: Matrix,
    marked: Vec<Marked>,
    unmarked: usize,
    operators: usize,
    bytes: usize,
    forms: Vec<ObjectId>,
    depth: usize,
}

impl<'d> Interpreter<'d> {
    /// `base` brings the page upright; `bounds` is the page after that.
    pub(super) fn new(
        doc: &'d Document,
        limits: &'d Limits,
        fonts: &'d mut Fonts,
        base: Matrix,
        bounds: Rect,
    ) -> Self {
        let state = State {
            ctm: base,
            font: None,
            size: 0.0,
            char_space: 0.0,
            word_space: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
        };
        Self {
            doc,
            limits,
            fonts,
            direct_fonts: HashMap::new(),
            out: Glyphs::default(),
            bounds,
            first: state.clone(),
            state,
            saved: Vec::new(),
            unsaved: 0,
            matrix: Matrix::IDENTITY,
            line_matrix: Matrix::IDENTITY,
            marked: Vec::new(),
            unmarked: 0,
            operators: 0,
            bytes: 0,
            forms: Vec::new(),
            depth: 0,
        }
    }

    /// The glyphs drawn so far.
    pub(super) fn finish(self) -> Glyphs {
        self.out
    }

    /// Runs a content stream with these resources.
    pub(super) fn run(&mut self, data: &[u8], resources: &Dictionary) -> Result<(), TextError> {
        self.bytes = self.bytes.saturating_add(data.len());
        if self.bytes > self.limits.max_page_content_bytes {
            return Err(TextError::TooComplex { bound: "bytes of content on a page" });
        }
        let mut lexer = Lexer::new(data);
        let mut operands: Vec<Operand<'_>> = Vec::new();
        let mut pending = 0_usize;
        while let Some(token) = lexer.token() {
            match token {
                Token::Operand(operand) => {
                    pending += 1;
                    // No operator takes so many; a stream of operands alone must not fill the memory.
                    if operands.len() >= 64 {
                        operands.clear();
                    }
                    operands.push(operand);
                    if pending.is_multiple_of(65_536) {
                        self.limits.check_deadline()?;
                    }
                }
                Token::Operator(operator) => {
                    self.operators += 1;
                    if self.operators > self.limits.max_page_operators {
                        return Err(TextError::TooComplex { bound: "operators on a page" });
                    }
                    if self.operators.is_multiple_of(16_384) {
                        self.limits.check_deadline()?;
                    }
                    if operator == b"ID" {
                        lexer.skip_inline_image();
                    } else {
                        self.operator(operator, &operands, resources)?;
                    }
                    operands.clear();
                    if self.fonts.budget.exhausted {
                        return Err(TextError::TooComplex { bound: "fonts of the document" });
                    }
                    if self.out.glyphs.len() > self.limits.max_page_glyphs
                        || self.out.text.len() > self.limits.max_page_glyphs.saturating_mul(16)
                    {
                        return Err(TextError::TooComplex { bound: "glyphs on a page" });
                    }
                }
            }
        }
        Ok(())
    }

    fn operator(
        &mut self,
        operator: &[u8],
        operands: &[Operand<'_>],
        resources: &Dictionary,
    ) -> Result<(), TextError> {
        let last = |back: usize| {
            operands
                .len()
                .checked_sub(back + 1)
                .and_then(|index| operands.get(index))
                .and_then(Operand::number)
        };
        match operator {
            b"q" => self.save(),
            b"Q" => self.restore(),
            b"cm" => {
                if let Some(matrix) = matrix_of(operands) {
                    let ctm = matrix.then(self.state.ctm);
                    if ctm.is_finite() {
                        self.state.ctm = ctm;
                    }
                }
            }
            b"BT" => {
                self.matrix = Matrix::IDENTITY;
                self.line_matrix = Matrix::IDENTITY;
            }
            b"Tc" => self.state.char_space = last(0).unwrap_or_default(),
            b"Tw" => self.state.word_space = last(0).unwrap_or_default(),
            b"Tz" => self.state.scale = last(0).unwrap_or(100.0) / 100.0,
            b"TL" => self.state.leading = last(0).unwrap_or_default(),
            b"Ts" => self.state.rise = last(0).unwrap_or_default(),
            b"Tf" => self.set_font(operands, resources),
            b"Td" | b"TD" => {
                let (x, y) = (last(1).unwrap_or_default(), last(0).unwrap_or_default());
                if operator == b"TD" {
                    self.state.leading = -y;
                }
                self.next_line(x, y);
            }
            b"Tm" => {
                if let Some(matrix) = matrix_of(operands) {
                    self.matrix = matrix;
                    self.line_matrix = matrix;
                }
            }
            b"T*" => self.next_line(0.0, -self.state.leading),
            b"Tj" => self.show_operand(operands.last()),
            b"'" => {
                self.next_line(0.0, -self.state.leading);
                self.show_operand(operands.last());
            }
            b"\"" => {
                self.state.word_space = last(2).unwrap_or_default();
                self.state.char_space = last(1).unwrap_or_default();
                self.next_line(0.0, -self.state.leading);
                self.show_operand(operands.last());
            }
            b"TJ" => {
                if let Some(Operand::Array(items)) = operands.last() {
                    for item in items {
                        match item {
                            Operand::Number(adjustment) => self.adjust(*adjustment),
                            item => self.show_operand(Some(item)),
                        }
                    }
                }
            }
            b"gs" => self.graphics_state(operands, resources),
            b"BMC" => self.begin_marked(None),
            b"BDC" => {
                let actual_text = self.actual_text(operands.last(), resources);
                self.begin_marked(actual_text);
            }
            b"EMC" => self.end_marked(),
            b"Do" => {
                if let Some(name) = operands.last().and_then(Operand::name) {
                    self.draw(name, resources)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn save(&mut self) {
        if self.saved.len() < MAX_SAVED {
            self.saved.push(self.state.clone());
        } else {
            self.unsaved += 1;
        }
    }

    fn restore(&mut self) {
        if self.unsaved > 0 {
            self.unsaved -= 1;
        } else if let Some(state) = self.saved.pop() {
            self.state = state;
        }
    }

    fn set_font(&mut self, operands: &[Operand<'_>], resources: &Dictionary) {
        if let [.., Operand::Name(name), Operand::Number(size)] = operands {
            self.state.size = *size;
            self.state.font = self.font(name, resources);
        }
    }

    fn font(&mut self, name: &[u8], resources: &Dictionary) -> Option<Rc<Font>> {
        let fonts = get_dict(self.doc, resources, b"Font")?;
        if matches!(fonts.get(name), Ok(Object::Reference(_))) {
            return self.fonts.get(self.doc, fonts, name);
        }
        let key = (std::ptr::from_ref(fonts).addr(), name.to_vec());
        if let Some(font) = self.direct_fonts.get(&key) {
            return font.clone();
        }
        let font = self.fonts.get(self.doc, fonts, name);
        if self.direct_fonts.len() < MAX_FONTS {
            self.direct_fonts.insert(key, font.clone());
        }
        font
    }

    /// `/Font` in an extended graphics state (8.4.5).
    fn graphics_state(&mut self, operands: &[Operand<'_>], resources: &Dictionary) {
        let Some(name) = operands.last().and_then(Operand::name) else { return };
        let Some(states) = get_dict(self.doc, resources, b"ExtGState") else { return };
        let Some(state) = get_dict(self.doc, states, name) else { return };
        let Some([Object::Reference(id), size]) = get_array(self.doc, state, b"Font") else { return };
        let mut fonts = Dictionary::new();
        fonts.set("F", Object::Reference(*id));
        self.state.font = self.fonts.get(self.doc, &fonts, b"F");
        self.state.size = super::objects::number(size).unwrap_or(self.state.size);
    }

    fn next_line(&mut self, x: f32, y: f32) {
        self.line_matrix = Matrix::translation(x, y).then(self.line_matrix);
        self.matrix = self.line_matrix;
    }

    /// A number in the array of `TJ`: thousandths of an em, to the left.
    fn adjust(&mut self, adjustment: f32) {
        let vertical = self.state.font.as_ref().is_some_and(|font| font.vertical);
        let move_by = -adjustment / 1000.0 * self.state.size;
        let step = if vertical {
            Matrix::translation(0.0, move_by)
        } else {
            Matrix::translation(move_by * self.state.scale, 0.0)
        };
        self.matrix = step.then(self.matrix);
    }

    fn show_operand(&mut self, operand: Option<&Operand<'_>>) {
        if let Some(Operand::String(bytes)) = operand {
            self.show(bytes);
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        let Some(font) = self.state.font.clone() else { return };
        let State { size, char_space, word_space, scale, rise, ctm, .. } = self.state;
        let bounds = self.bounds;
        let limit = self.limits.max_page_glyphs.saturating_add(1);
        let em = size * font.em;
        // 9.4.4: the text rendering matrix without the font size, which the widths below contain. Along a string only
        // its translation changes, so the direction and the height of the glyphs are those of the first.
        let turn = Matrix::new([scale, 0.0, 0.0, 1.0, 0.0, rise]);
        let mut matrix = self.matrix;
        let first = turn.then(matrix).then(ctm);
        let (along, across) =
            if font.vertical { ((0.0, -1.0), (em, 0.0)) } else { ((size.signum(), 0.0), (0.0, em)) };
        let (ux, uy) = first.turn(along.0, along.1);
        let length = ux.hypot(uy);
        let (hx, hy) = first.turn(across.0, across.1);
        let height = hx.hypot(hy);
        let drawn = length > 0.0 && length.is_finite() && height > 0.0 && height.is_finite();
        let Glyphs { glyphs, text } = &mut self.out;
        let mut from = text.len();
        font.show(bytes, text, |shown, text| {
            let to_page = turn.then(matrix).then(ctm);
            let spacing = char_space + if shown.word_space { word_space } else { 0.0 };
            let ink = shown.width * size;
            let (ink, step) = if font.vertical {
                ((0.0, -ink), Matrix::translation(0.0, -ink + spacing.copysign(-ink)))
            } else {
                ((ink, 0.0), Matrix::translation((ink + spacing) * scale, 0.0))
            };
            let to = text.len();
            if to > from {
                let (x, y) = to_page.apply(0.0, 0.0);
                let (dx, dy) = to_page.turn(ink.0, ink.1);
                let finite = x.is_finite() && y.is_finite() && dx.is_finite() && dy.is_finite();
                if drawn && finite && bounds.contains(x, y, height) {
                    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
                    let (ux, uy) = (ux / length, uy / length);
                    glyphs.push(Glyph {
                        x,
                        y,
                        dx,
                        dy,
                        ux,
                        uy,
                        size: height,
                        from: place(from),
                        to: place(to),
                    });
                } else {
                    text.truncate(from);
                }
            }
            from = text.len();
            matrix = step.then(matrix);
            glyphs.len() < limit
        });
        self.matrix = matrix;
    }

    fn begin_marked(&mut self, actual_text: Option<String>) {
        if self.marked.len() < MAX_MARKED {
            // Inside a replaced sequence a second replacement has nothing to say.
            let actual_text =
                actual_text.filter(|_| self.marked.iter().all(|open| open.actual_text.is_none()));
            self.marked.push(Marked { start: self.out.glyphs.len(), actual_text });
        } else {
            self.unmarked += 1;
        }
    }

    fn end_marked(&mut self) {
        if self.unmarked > 0 {
            self.unmarked -= 1;
            return;
        }
        let Some(Marked { start, actual_text: Some(text) }) = self.marked.pop() else { return };
        let Glyphs { glyphs, text: arena } = &mut self.out;
        let Some(first) = glyphs.get(start).copied() else { return };
        // One glyph with the text of all, as wide as those on the first one's line.
        let (mut low, mut high) = (0.0_f32, 0.0_f32);
        for glyph in glyphs.get(start..).unwrap_or_default() {
            let along = |x: f32, y: f32| (x - first.x) * first.ux + (y - first.y) * first.uy;
            let across = (glyph.y - first.y) * first.ux - (glyph.x - first.x) * first.uy;
            if across.abs() < first.size * 0.5 {
                let begin = along(glyph.x, glyph.y);
                let end = along(glyph.x + glyph.dx, glyph.y + glyph.dy);
                low = low.min(begin).min(end);
                high = high.max(begin).max(end);
            }
        }
        glyphs.truncate(start);
        if text.is_empty() {
            return;
        }
        let from = u32::try_from(arena.len()).unwrap_or(u32::MAX);
        arena.push_str(&text);
        let to = u32::try_from(arena.len()).unwrap_or(u32::MAX);
        glyphs.push(Glyph {
            x: first.x + low * first.ux,
            y: first.y + low * first.uy,
            dx: (high - low) * first.ux,
            dy: (high - low) * first.uy,
            from,
            to,
            ..first
        });
    }

    fn actual_text(&self, properties: Option<&Operand<'_>>, resources: &Dictionary) -> Option<String> {
        let bytes = match properties? {
            Operand::Dict(entries) => entries.iter().find_map(|(key, value)| match value {
                Operand::String(bytes) if key.as_ref() == b"ActualText" => Some(bytes.to_vec()),
                _ => None,
            })?,
            Operand::Name(name) => {
                let list = get_dict(self.doc, resources, b"Properties")?;
                let dict = get_dict(self.doc, list, name)?;
                match get(self.doc, dict, b"ActualText")? {
                    Object::String(bytes, _) => bytes.clone(),
                    _ => return None,
                }
            }
            _ => return None,
        };
        (bytes.len() <= MAX_ACTUAL_TEXT).then(|| text_string(&bytes))
    }

    /// Draws the appearance of an annotation, from a fresh state.
    pub(super) fn annotation(
        &mut self,
        entry: &Object,
        outer: &Dictionary,
        placed: Matrix,
    ) -> Result<(), TextError> {
        self.state = self.first.clone();
        self.saved.clear();
        self.unsaved = 0;
        self.form(entry, outer, placed)
    }

    fn draw(&mut self, name: &[u8], resources: &Dictionary) -> Result<(), TextError> {
        let Some(objects) = get_dict(self.doc, resources, b"XObject") else { return Ok(()) };
        let Ok(entry) = objects.get(name) else { return Ok(()) };
        self.form(entry, resources, Matrix::IDENTITY)
    }

    /// Draws a form `XObject` (8.10). `placed` comes after the form's own matrix.
    pub(super) fn form(
        &mut self,
        entry: &Object,
        outer: &Dictionary,
        placed: Matrix,
    ) -> Result<(), TextError> {
        let doc = self.doc;
        let Some(Object::Stream(stream)) = resolve(doc, entry) else { return Ok(()) };
        if get_name(doc, &stream.dict, b"Subtype").is_some_and(|kind| kind != b"Form") {
            return Ok(());
        }
        let id = match entry {
            Object::Reference(id) => Some(*id),
            _ => None,
        };
        if self.depth >= self.limits.max_form_depth || id.is_some_and(|id| self.forms.contains(&id)) {
            return Ok(());
        }
        let data = stream_data(doc, stream, self.limits.max_stream_bytes)
            .map_err(|_| TextError::TooComplex { bound: "bytes of a form" })?;
        let matrix = get_array(doc, &stream.dict, b"Matrix")
            .and_then(|items| numbers::<6>(doc, items))
            .map_or(Matrix::IDENTITY, Matrix::new);
        let own = get_dict(doc, &stream.dict, b"Resources");

        let before = (self.state.clone(), self.matrix, self.line_matrix);
        let saved = std::mem::take(&mut self.saved);
        let marked = std::mem::take(&mut self.marked);
        let unsaved = std::mem::take(&mut self.unsaved);
        let unmarked = std::mem::take(&mut self.unmarked);
        let ctm = matrix.then(placed).then(self.state.ctm);
        let mut result = Ok(());
        if ctm.is_finite() {
            self.state.ctm = ctm;
            self.depth += 1;
            self.forms.extend(id);
            result = self.run(&data, own.unwrap_or(outer));
            if id.is_some() {
                self.forms.pop();
            }
            self.depth -= 1;
        }
        (self.state, self.matrix, self.line_matrix) = before;
        self.saved = saved;
        self.marked = marked;
        self.unsaved = unsaved;
        self.unmarked = unmarked;
        result
    }
}

fn matrix_of(operands: &[Operand<'_>]) -> Option<Matrix> {
    let start = operands.len().checked_sub(6)?;
    let mut values = [0.0; 6];
    for (slot, operand) in values.iter_mut().zip(operands.get(start..)?) {
        *slot = operand.number()?;
    }
    Some(Matrix::new(values))
}
