//! Reading order: columns of prose are read one after the other, tables row by row.

use super::line::{Line, Word};

/// How often a region may be cut.
const MAX_DEPTH: usize = 24;
/// Fewest lines on each side of a gutter.
const FEWEST_LINES: usize = 3;
/// Narrowest gutter, in ems.
const GUTTER: f32 = 0.9;
/// Cells in which gutters are looked for.
const CELLS: usize = 400;

/// Lines that are read together: one column, or one stretch across the page.
pub(super) type Block = Vec<Line>;

/// Cuts lines (from the top down) into blocks in reading order.
pub(super) fn blocks(lines: Vec<Line>, right_to_left: bool) -> Vec<Block> {
    let mut out = Vec::new();
    cut(lines, right_to_left, 0, &mut out);
    out
}

/// A vertical strip without text in the lines `from..to`.
struct Gutter {
    u: f32,
    from: usize,
    to: usize,
}

fn cut(mut lines: Vec<Line>, right_to_left: bool, depth: usize, out: &mut Vec<Block>) {
    if lines.is_empty() {
        return;
    }
    let Some(gutter) = (if depth < MAX_DEPTH { find(&lines) } else { None }) else {
        out.push(lines);
        return;
    };
    let below = lines.split_off(gutter.to.min(lines.len()));
    let inside = lines.split_off(gutter.from.min(lines.len()));
    cut(lines, right_to_left, depth + 1, out);
    let (left, right) = split(inside, gutter.u);
    let (first, second) = if right_to_left { (right, left) } else { (left, right) };
    cut(first, right_to_left, depth + 1, out);
    cut(second, right_to_left, depth + 1, out);
    cut(below, right_to_left, depth + 1, out);
}

fn split(lines: Vec<Line>, u: f32) -> (Vec<Line>, Vec<Line>) {
    let mut left = Vec::new();
    let mut right = Vec::new();
    for line in lines {
        let (before, after): (Vec<Word>, Vec<Word>) = line.words.into_iter().partition(|word| word.u0 < u);
        for (side, words) in [(&mut left, before), (&mut right, after)] {
            if !words.is_empty() {
                let size =
                    words.iter().flat_map(|word| &word.items).map(|item| item.size).fold(0.0, f32::max);
                side.push(Line {
                    words,
                    v: line.v,
                    size: if size > 0.0 { size.min(line.size) } else { line.size },
                });
            }
        }
    }
    (left, right)
}

/// What a line has at a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Text,
    /// Free, with text on both sides.
    Between,
    /// Free, all text of the line is to the left.
    LeftOnly,
    /// Free, all text of the line is to the right.
    RightOnly,
}

/// Finds the gutter with the most prose on both sides.
fn find(lines: &[Line]) -> Option<Gutter> {
    if lines.len() < FEWEST_LINES {
        return None;
    }
    let low = lines.iter().map(Line::u0).fold(f32::MAX, f32::min);
    let high = lines.iter().map(Line::u1).fold(f32::MIN, f32::max);
    let width = high - low;
    if !(width > 0.0 && width.is_finite()) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few hundred cells")]
    let step = width / CELLS as f32;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "clamped to the cells"
    )]
    let cell = |u: f32| ((u - low) / step).clamp(0.0, CELLS as f32) as usize;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred cells")]
    let place = |cell: usize| low + (cell as f32 + 0.5) * step;

    let grid: Vec<Vec<Seen>> = lines.iter().map(|line| row(line, cell)).collect();
    let mut candidates: Vec<(usize, Gutter)> = Vec::new();
    let mut at = 1;
    while at + 1 < CELLS {
        for (from, to, score) in stretches(&grid, at) {
            candidates.push((score, Gutter { u: place(at), from, to }));
        }
        at += 1;
    }
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.0));
    // Neighbouring cells see the same gutter: of equals the middle one is best.
    let mut tried = 0;
    let mut index = 0;
    while let Some((score, first)) = candidates.get(index) {
        let mut same: Vec<&Gutter> = Vec::new();
        while let Some((other, gutter)) = candidates.get(index) {
            let adjoins = same.last().is_none_or(|last| gutter.u - last.u < step * 1.5 && gutter.u >= last.u);
            if other != score || gutter.from != first.from || gutter.to != first.to || !adjoins {
                break;
            }
            same.push(gutter);
            index += 1;
        }
        if same.is_empty() {
            index += 1;
            continue;
        }
        if let Some(middle) = same.get(same.len() / 2)
            && is_prose(lines.get(middle.from..middle.to).unwrap_or_default(), middle.u)
        {
            return Some(Gutter { u: middle.u, from: middle.from, to: middle.to });
        }
        tried += 1;
        if tried >= 60 {
            return None;
        }
    }
    None
}

fn row(line: &Line, cell: impl Fn(f32) -> usize) -> Vec<Seen> {
    let mut row = vec![Seen::LeftOnly; CELLS];
    let fill = |row: &mut Vec<Seen>, from: usize, to: usize, seen: Seen| {
        for slot in row.iter_mut().take(to.min(CELLS)).skip(from) {
            *slot = seen;
        }
    };
    let mut end: Option<f32> = None;
    for word in &line.words {
        let begin = cell(word.u0);
        match end {
            None => fill(&mut row, 0, begin, Seen::RightOnly),
            Some(end) => {
                let seen = if word.u0 - end >= GUTTER * line.size { Seen::Between } else { Seen::Text };
                fill(&mut row, cell(end), begin, seen);
            }
        }
        fill(&mut row, begin, cell(word.u1) + 1, Seen::Text);
        end = Some(end.map_or(word.u1, |end| end.max(word.u1)));
    }
    row
}

/// Stretches of lines that leave a cell free, with enough text on both sides: first line, last line, score.
fn stretches(grid: &[Vec<Seen>], cell: usize) -> Vec<(usize, usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while from < grid.len() {
        let seen = |line: usize| grid.get(line).and_then(|row| row.get(cell)).copied().unwrap_or(Seen::Text);
        if seen(from) == Seen::Text {
            from += 1;
            continue;
        }
        let (mut left, mut right) = (0, 0);
        let (mut left_span, mut right_span) = ((usize::MAX, 0), (usize::MAX, 0));
        let mut to = from;
        while to < grid.len() && seen(to) != Seen::Text {
            if matches!(seen(to), Seen::Between | Seen::LeftOnly) {
                left += 1;
                left_span = (left_span.0.min(to), to);
            }
            if matches!(seen(to), Seen::Between | Seen::RightOnly) {
                right += 1;
                right_span = (right_span.0.min(to), to);
            }
            to += 1;
        }
        // The two sides must stand beside each other, not one under the other.
        let shared = left_span.1.min(right_span.1).saturating_sub(left_span.0.max(right_span.0)) + 1;
        let fewer = left.min(right);
        if fewer >= FEWEST_LINES
            && shared >= FEWEST_LINES
            && left_span.0 <= right_span.1
            && right_span.0 <= left_span.1
        {
            found.push((from, to, fewer));
        }
        from = to;
    }
    found
}

/// Whether both sides of a gutter are prose: lines of some length that fill their column.
fn is_prose(lines: &[Line], u: f32) -> bool {
    let mut sides = [Side::new(), Side::new()];
    for line in lines {
        let [left, right] = &mut sides;
        left.add(line.words.iter().filter(|word| word.u0 < u), line.size);
        right.add(line.words.iter().filter(|word| word.u0 >= u), line.size);
    }
    if sides.iter().all(Side::is_prose) {
        return true;
    }
    // A box beside the text: the rows of a table share their baselines, these do not.
    let both = lines
        .iter()
        .filter(|line| {
            line.words.iter().any(|word| word.u0 < u) && line.words.iter().any(|word| word.u0 >= u)
        })
        .count();
    let fewer = sides.iter().map(|side| side.lines).min().unwrap_or_default();
    both * 2 <= fewer && fewer >= 4 && sides.iter().any(|side| side.is_prose() && side.lines >= 5)
}

struct Side {
    low: f32,
    high: f32,
    lines: usize,
    letters: usize,
    digits: usize,
    words: usize,
    width: f32,
    gaps: usize,
}

impl Side {
    fn new() -> Self {
        Self { low: f32::MAX, high: f32::MIN, lines: 0, letters: 0, digits: 0, words: 0, width: 0.0, gaps: 0 }
    }

    fn add<'w>(&mut self, words: impl Iterator<Item = &'w Word>, size: f32) {
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        for word in words {
            if high > f32::MIN && word.u0 - high > super::line::CELL_GAP * size {
                self.gaps += 1;
            }
            low = low.min(word.u0);
            high = high.max(word.u1);
            self.words += 1;
            self.letters += word.items.len();
            self.digits += usize::from(word.items.len() < 2);
        }
        if low < high {
            self.lines += 1;
            self.width += high - low;
            self.low = self.low.min(low);
            self.high = self.high.max(high);
        }
    }

    fn is_prose(&self) -> bool {
        if self.lines < FEWEST_LINES {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of a page")]
        let (lines, letters) = (self.lines as f32, self.letters as f32);
        let fill = self.width / lines / (self.high - self.low).max(1.0);
        let per_line = letters / lines;
        per_line >= 14.0 && fill >= 0.55 && self.gaps * 4 <= self.lines && self.words >= self.lines * 2
    }
}
