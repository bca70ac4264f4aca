//! The PDF text layer: lopdf parses the objects, everything from there to text is here.
//!
//! A page goes through three steps: `content` interprets its operators and yields glyphs with their places, `layout`
//! orders glyphs into words, lines and columns, and `bidi` brings each line from visual into logical order.

mod bidi;
mod cmap;
mod columns;
mod content;
mod encoding;
mod font;
mod layout;
mod lex;
mod line;
mod matrix;
mod objects;
mod pages;
mod program;

use lopdf::{DecompressError, Dictionary, Document, Error, LoadOptions, Object};

use crate::document::RawPage;
use crate::{Limits, TextError, clean};
use content::{Fonts, Interpreter};
use matrix::Matrix;
use objects::{as_dict, get, get_array, get_dict, get_name, numbers, resolve, stream_data};
use pages::PageNode;

/// Reads the pages of a PDF one after the other.
pub(crate) struct Reader<'a> {
    doc: Document,
    limits: &'a Limits,
    fonts: Fonts,
    pages: Vec<PageNode>,
    next: usize,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Reader")
            .field("pages", &self.pages.len())
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// Parses the file's structure. A file that opens without a password is decrypted.
    pub(crate) fn open(bytes: &[u8], limits: &'a Limits) -> Result<Self, TextError> {
        let options = LoadOptions {
            max_decompressed_size: Some(limits.max_object_stream_bytes),
            ..LoadOptions::default()
        };
        let doc = Document::load_mem_with_options(bytes, options).map_err(|error| load_error(&error))?;
        // A file that is still locked loads without an error and without objects.
        if doc.is_encrypted() && doc.encryption_state.is_none() {
            return Err(TextError::Encrypted);
        }
        limits.check_deadline()?;
        let pages = pages::list(&doc, limits.max_pages)?;
        Ok(Self { doc, limits, fonts: Fonts::new(limits), pages, next: 0 })
    }

    /// `/Title` of the document information.
    pub(crate) fn title(&self) -> Option<String> {
        let info = as_dict(resolve(&self.doc, self.doc.trailer.get(b"Info").ok()?)?)?;
        let Object::String(bytes, _) = get(&self.doc, info, b"Title")? else { return None };
        let title = clean::line(&encoding::text_string(bytes.get(..4096).unwrap_or(bytes)));
        (!title.is_empty()).then_some(title)
    }

    /// The next page; `None` after the last.
    pub(crate) fn next_page(&mut self) -> Option<Result<RawPage, TextError>> {
        let page = self.pages.get(self.next)?.clone();
        self.next += 1;
        let number = u32::try_from(self.next).unwrap_or(u32::MAX);
        Some(self.page(&page).map(|lines| RawPage { number, lines }))
    }

    fn page(&mut self, page: &PageNode) -> Result<Vec<crate::document::RawLine>, TextError> {
        self.limits.check_deadline()?;
        let empty = Dictionary::new();
        let Some(dict) = self.doc.objects.get(&page.id).and_then(as_dict) else { return Ok(Vec::new()) };
        let resources = page
            .resources
            .and_then(|id| self.doc.objects.get(&id))
            .and_then(as_dict)
            .and_then(|node| get_dict(&self.doc, node, b"Resources"))
            .unwrap_or(&empty);
        let upright = page.upright();
        let bounds = page.bounds.transformed(upright);
        let mut interpreter = Interpreter::new(&self.doc, self.limits, &mut self.fonts, upright, bounds);
        let data = page_content(&self.doc, dict, self.limits)?;
        interpreter.run(&data, resources)?;
        drop(data);
        draw_annotations(&self.doc, dict, &mut interpreter)?;
        let glyphs = interpreter.finish();
        self.limits.check_deadline()?;
        Ok(layout::lines(glyphs, bounds))
    }
}

fn load_error(error: &Error) -> TextError {
    match error {
        Error::Decompress(DecompressError::MemoryLimitExceeded { .. }) => {
            TextError::TooComplex { bound: "bytes of an object stream" }
        }
        Error::InvalidPassword => TextError::Encrypted,
        other => TextError::corrupt(other.to_string()),
    }
}

/// The content streams of a page, one after the other.
fn page_content(doc: &Document, page: &Dictionary, limits: &Limits) -> Result<Vec<u8>, TextError> {
    let too_large = TextError::TooComplex { bound: "bytes of a page's content" };
    let mut data = Vec::new();
    let mut add = |object: &Object| -> Result<(), TextError> {
        if let Some(Object::Stream(stream)) = resolve(doc, object) {
            let left = limits.max_stream_bytes.saturating_sub(data.len());
            let part = stream_data(doc, stream, left).map_err(|_| too_large.clone())?;
            data.extend_from_slice(&part);
            // A token does not continue in the next stream.
            data.push(b'\n');
        }
        Ok(())
    };
    match get(doc, page, b"Contents") {
        Some(Object::Array(items)) => items.iter().try_for_each(add)?,
        Some(object) => add(object)?,
        None => {}
    }
    Ok(data)
}

/// Draws what annotations show: free text, form fields, stamps (12.5.5).
fn draw_annotations(
    doc: &Document,
    page: &Dictionary,
    interpreter: &mut Interpreter<'_>,
) -> Result<(), TextError> {
    /// Most annotations drawn on a page.
    const MAX_ANNOTATIONS: usize = 5_000;
    /// Bits 2 and 6 of `/F`: hidden, no view.
    const INVISIBLE: i64 = 0b10_0010;
    let Some(annotations) = get_array(doc, page, b"Annots") else { return Ok(()) };
    let empty = Dictionary::new();
    for annotation in annotations.iter().take(MAX_ANNOTATIONS) {
        let Some(annotation) = resolve(doc, annotation).and_then(as_dict) else { continue };
        let shown = get_name(doc, annotation, b"Subtype");
        if !matches!(shown, Some(b"FreeText" | b"Widget" | b"Stamp" | b"Watermark")) {
            continue;
        }
        if matches!(get(doc, annotation, b"F"), Some(Object::Integer(flags)) if flags & INVISIBLE != 0) {
            continue;
        }
        let Some(appearances) = get_dict(doc, annotation, b"AP") else { continue };
        let Ok(mut normal) = appearances.get(b"N") else { continue };
        // Several states: the one that is on.
        if let Some(Object::Dictionary(states)) = resolve(doc, normal) {
            let Some(state) = get_name(doc, annotation, b"AS").and_then(|state| states.get(state).ok())
            else {
                continue;
            };
            normal = state;
        }
        let Some(Object::Stream(form)) = resolve(doc, normal) else { continue };
        let rectangle = |dict, key| {
            let [x0, y0, x1, y1] = numbers::<4>(doc, get_array(doc, dict, key)?)?;
            Some(matrix::Rect::of_corners((x0, y0), (x1, y1)))
        };
        let matrix = get_array(doc, &form.dict, b"Matrix")
            .and_then(|items| numbers::<6>(doc, items))
            .map_or(Matrix::IDENTITY, Matrix::new);
        // The form's box, after its own matrix, is stretched to the annotation's rectangle.
        let placed = match (rectangle(&form.dict, b"BBox"), rectangle(annotation, b"Rect")) {
            (Some(bbox), Some(rect)) => {
                let bbox = bbox.transformed(matrix);
                let scale = |to: f32, from: f32| if from.abs() > 1e-3 { to / from } else { 1.0 };
                let (sx, sy) = (scale(rect.width(), bbox.width()), scale(rect.height(), bbox.height()));
                Matrix::new([sx, 0.0, 0.0, sy, rect.x0 - bbox.x0 * sx, rect.y0 - bbox.y0 * sy])
            }
            _ => Matrix::IDENTITY,
        };
        interpreter.annotation(normal, &empty, placed)?;
    }
    Ok(())
}
