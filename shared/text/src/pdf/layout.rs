//! Glyphs of a page to its lines, in reading order and logical order.

use super::bidi;
use super::columns::{Block, blocks};
use super::content::{Glyph, Glyphs};
use super::line::{CELL_GAP, Item, Line, build};
use super::matrix::Rect;
use crate::document::{Break, RawLine};

/// Part of the page's height, at the top and at the bottom, where headers and footers are.
const EDGE: f32 = 0.08;

/// Orders the glyphs of a page into lines.
///
/// Text in another direction than most of the page (a rotated table, a stamp in the margin) follows after it.
pub(super) fn lines(glyphs: Glyphs, bounds: Rect) -> Vec<RawLine> {
    let Glyphs { glyphs, text: mut arena } = glyphs;
    let mut angles: Vec<(i16, Vec<&Glyph>)> = Vec::new();
    for glyph in &glyphs {
        let angle = quantized(glyph);
        match angles.iter_mut().find(|(known, _)| *known == angle) {
            Some((_, members)) => members.push(glyph),
            None => angles.push((angle, vec![glyph])),
        }
    }
    // The direction of most of the text comes first, then the others as they were drawn.
    if let Some(main) = angles
        .iter()
        .enumerate()
        .max_by_key(|(index, (_, members))| (members.len(), usize::MAX - index))
        .map(|(index, _)| index)
        && let Some(first) = angles.get_mut(..=main)
    {
        first.rotate_right(1);
    }
    let mut out = Vec::new();
    for (angle, members) in angles {
        let (sin, cos) = f32::from(angle).to_radians().sin_cos();
        let items: Vec<Item> = members.into_iter().map(|glyph| item(glyph, sin, cos)).collect();
        let built = build(&items, &mut arena);
        let corners = bounds.transformed(super::matrix::Matrix::new([cos, -sin, sin, cos, 0.0, 0.0]));
        direction(built, &arena, corners, &mut out);
    }
    out
}

/// The angle of the baseline: quarter turns with some tolerance for crooked scans, else steps of 15 degrees.
fn quantized(glyph: &Glyph) -> i16 {
    if glyph.ux > 0.0 && glyph.uy.abs() < 0.3 * glyph.ux {
        return 0;
    }
    let degrees = glyph.uy.atan2(glyph.ux).to_degrees();
    let quarter = (degrees / 90.0).round() * 90.0;
    let angle = if (degrees - quarter).abs() < 20.0 { quarter } else { (degrees / 15.0).round() * 15.0 };
    #[expect(clippy::cast_possible_truncation, reason = "between -180 and 180")]
    let angle = angle as i16;
    if angle == -180 { 180 } else { angle }
}

fn item(glyph: &Glyph, sin: f32, cos: f32) -> Item {
    let turn = |x: f32, y: f32| (x * cos + y * sin, y * cos - x * sin);
    let (start, v) = turn(glyph.x, glyph.y);
    let (end, _) = turn(glyph.x + glyph.dx, glyph.y + glyph.dy);
    Item { u0: start.min(end), u1: start.max(end), v, size: glyph.size, from: glyph.from, to: glyph.to }
}

/// Appends the text of one direction of writing.
fn direction(lines: Vec<Line>, arena: &str, bounds: Rect, out: &mut Vec<RawLine>) {
    let (right, left) = bidi::count(&lines, arena);
    let right_to_left = right > left;
    let blocks = blocks(lines, right_to_left);
    let mut before: Option<Shape> = None;
    for block in &blocks {
        let frame = Frame::of(block);
        for line in block {
            let text = bidi::logical(&line.words, line.size, arena, right_to_left);
            if text.trim().is_empty() {
                continue;
            }
            let shape = Shape::of(line, &text, &frame);
            let after =
                before.as_ref().map_or(Break::Paragraph, |before| shape.after(before, &frame, right_to_left));
            let edge = (line.v - bounds.y0).min(bounds.y1 - line.v) < EDGE * bounds.height();
            out.push(RawLine { text, after, edge });
            before = Some(shape);
        }
    }
}

/// The place of a block on the page.
struct Frame {
    low: f32,
    high: f32,
    /// The usual distance of its lines.
    pitch: f32,
    top: f32,
}

impl Frame {
    fn of(block: &Block) -> Self {
        let low = block.iter().map(Line::u0).fold(f32::MAX, f32::min);
        let high = block.iter().map(Line::u1).fold(f32::MIN, f32::max);
        let mut pitches: Vec<f32> = block
            .windows(2)
            .filter_map(|pair| match pair {
                [upper, lower] => Some((upper.v - lower.v) / lower.size.max(upper.size)),
                _ => None,
            })
            .filter(|pitch| (0.5..2.5).contains(pitch))
            .collect();
        pitches.sort_by(f32::total_cmp);
        let pitch = pitches.get(pitches.len() / 2).copied().unwrap_or(1.2);
        Self { low, high, pitch, top: block.first().map_or(0.0, |line| line.v) }
    }
}

/// What decides whether two lines belong together.
struct Shape {
    u0: f32,
    u1: f32,
    v: f32,
    size: f32,
    /// The block it is in, known by its frame.
    frame: (f32, f32, f32),
    has_cells: bool,
    is_item: bool,
    /// First and last character.
    first: char,
    last: char,
}

impl Shape {
    fn of(line: &Line, text: &str, frame: &Frame) -> Self {
        let has_cells = line.words.windows(2).any(|pair| match pair {
            [before, after] => after.u0 - before.u1 > CELL_GAP * line.size,
            _ => false,
        });
        let text = text.trim();
        Self {
            u0: line.u0(),
            u1: line.u1(),
            v: line.v,
            size: line.size,
            frame: (frame.low, frame.high, frame.top),
            has_cells: has_cells || crate::clean::has_leader(text),
            is_item: is_item(text),
            first: text.chars().next().unwrap_or(' '),
            last: text.chars().next_back().unwrap_or(' '),
        }
    }

    /// The break between the line `before` and this one.
    fn after(&self, before: &Self, frame: &Frame, right_to_left: bool) -> Break {
        let ends_sentence = matches!(before.last, '.' | '!' | '?' | ':' | '؟' | '؛' | '。' | '…');
        let divided = matches!(before.last, '-' | '\u{AD}' | '\u{2010}') && self.first.is_lowercase();
        if self.frame != before.frame {
            // A sentence may go on in the next column.
            let goes_on = divided
                || !ends_sentence && self.first.is_lowercase() && !self.has_cells && !before.has_cells;
            return if goes_on { Break::Soft } else { Break::Paragraph };
        }
        let size = self.size.max(before.size);
        let pitch = (before.v - self.v) / size;
        let other_size = size > 1.2 * self.size.min(before.size);
        if other_size || pitch > frame.pitch * 1.35 + 0.05 || pitch > 2.4 {
            return Break::Paragraph;
        }
        if self.has_cells || before.has_cells || self.is_item {
            return Break::Line;
        }
        if divided {
            return Break::Soft;
        }
        let width = (frame.high - frame.low).max(1.0);
        let (indent, indent_before, short) = if right_to_left {
            (frame.high - self.u1, frame.high - before.u1, before.u0 - frame.low)
        } else {
            (self.u0 - frame.low, before.u0 - frame.low, frame.high - before.u1)
        };
        let indented = indent > 0.8 * self.size && indent_before < 0.4 * self.size && indent < 0.25 * width;
        if ends_sentence && (indented || short > 0.15 * width) {
            return Break::Paragraph;
        }
        // A line that ends long before the margin was ended by its author.
        if short > 0.45 * width || indented && !self.first.is_lowercase() && short > 0.1 * width {
            return Break::Line;
        }
        Break::Soft
    }
}

/// Whether a line begins an item of a list.
fn is_item(text: &str) -> bool {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return false };
    let second = letters.next();
    if matches!(first, '•' | '▪' | '●' | '◦' | '‣' | '■' | '□' | '–' | '—' | '*' | '·' | '➢' | '✓')
    {
        return second.is_none_or(char::is_whitespace) || first == '•';
    }
    let Some((mark, rest)) = text.split_once(char::is_whitespace) else { return false };
    let count = mark.chars().count();
    if rest.is_empty() || !(2..=5).contains(&count) {
        return false;
    }
    let inner = mark.trim_start_matches('(');
    let label = inner.trim_end_matches([')', '.']);
    // "1." "(a)" "iv)"; one letter and a dot may be a name.
    inner.len() > label.len()
        && !label.is_empty()
        && (label.chars().all(char::is_numeric) || label.chars().count() == 1 && inner.ends_with(')'))
}
