//! Glyphs to lines: baselines, order along them, words.

/// A gap wider than this, in ems, separates words.
const WORD_GAP: f32 = 0.17;
/// A gap wider than this, in ems, separates cells of a table or columns.
pub(super) const CELL_GAP: f32 = 1.6;
/// Most marks that one letter carries.
const MAX_MARKS: u8 = 8;

/// A glyph in the coordinates of its writing direction: `u` along the line, `v` up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub u0: f32,
    pub u1: f32,
    pub v: f32,
    pub size: f32,
    /// Its text, as bytes of the arena.
    pub from: u32,
    pub to: u32,
}

impl Item {
    fn center(&self) -> f32 {
        f32::midpoint(self.u0, self.u1)
    }
}

/// The text of an item.
pub(super) fn text_of<'a>(arena: &'a str, item: &Item) -> &'a str {
    let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
    arena.get(index(item.from)..index(item.to)).unwrap_or_default()
}

/// Items without a gap between them, from left to right.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub u0: f32,
    pub u1: f32,
    pub items: Vec<Item>,
}

/// Words on one baseline, from left to right.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub words: Vec<Word>,
    pub v: f32,
    pub size: f32,
}

impl Line {
    pub(super) fn u0(&self) -> f32 {
        self.words.first().map_or(0.0, |word| word.u0)
    }

    pub(super) fn u1(&self) -> f32 {
        self.words.iter().map(|word| word.u1).fold(f32::MIN, f32::max)
    }
}

/// Items drawn one after the other on one baseline.
#[derive(Debug, Clone)]
struct Run {
    u0: f32,
    u1: f32,
    v: f32,
    size: f32,
    items: std::ops::Range<usize>,
}

#[derive(Debug)]
struct Band {
    v: f32,
    size: f32,
    width: f32,
    runs: Vec<Run>,
}

impl Band {
    /// Whether a run is on this baseline, or goes on beside a run that is: lines of crooked scans drift.
    fn takes(&self, run: &Run) -> bool {
        const TOLERANCE: f32 = 0.28;
        if (self.v - run.v).abs() <= TOLERANCE * self.size.min(run.size) {
            return true;
        }
        self.runs.iter().rev().take(24).any(|other| {
            let size = other.size.min(run.size);
            let gap = (run.u0 - other.u1).max(other.u0 - run.u1);
            (other.v - run.v).abs() <= 0.15 * size && (-0.1 * size..1.5 * size).contains(&gap)
        })
    }
}

/// Orders items into lines, from the top down.
pub(super) fn build(items: &[Item], arena: &mut String) -> Vec<Line> {
    let mut bands = bands(runs(items));
    attach_scripts(&mut bands);
    let mut lines = Vec::with_capacity(bands.len());
    for band in bands.into_iter().filter(|band| !band.runs.is_empty()) {
        let members = band
            .runs
            .iter()
            .flat_map(|run| items.get(run.items.clone()).unwrap_or_default())
            .copied()
            .collect();
        let sorted = attach_marks(sort(members, arena), arena);
        let words = words(&sorted, arena);
        if !words.is_empty() {
            lines.push(Line { words, v: band.v, size: band.size });
        }
    }
    lines
}

fn runs(items: &[Item]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(run) = runs.last_mut() {
            let same_line =
                (run.v - item.v).abs() < 0.05 * item.size && (run.size - item.size).abs() < 0.1 * item.size;
            let reach = item.size;
            if same_line && item.u0 < run.u1 + reach && item.u1 > run.u0 - reach {
                run.u0 = run.u0.min(item.u0);
                run.u1 = run.u1.max(item.u1);
                run.items.end = index + 1;
                continue;
            }
        }
        runs.push(Run { u0: item.u0, u1: item.u1, v: item.v, size: item.size, items: index..index + 1 });
    }
    runs
}

fn bands(mut runs: Vec<Run>) -> Vec<Band> {
    runs.sort_by(|a, b| b.v.total_cmp(&a.v));
    let mut bands: Vec<Band> = Vec::new();
    for run in runs {
        let width = run.u1 - run.u0;
        // Bands are from the top down: only the last few can be near.
        let near = bands.iter_mut().rev().take(4).find(|band| band.takes(&run));
        match near {
            Some(band) => {
                if width > band.width {
                    band.v = run.v;
                    band.size = run.size;
                    band.width = width;
                }
                band.runs.push(run);
            }
            None => bands.push(Band { v: run.v, size: run.size, width, runs: vec![run] }),
        }
    }
    bands.sort_by(|a, b| b.v.total_cmp(&a.v));
    bands
}

/// Moves superscripts and subscripts onto the line they belong to.
fn attach_scripts(bands: &mut [Band]) {
    /// Lines with more runs are no stray scripts.
    const MAX_RUNS: usize = 400;
    for index in 0..bands.len() {
        for neighbour in [index.checked_sub(1), Some(index + 1), index.checked_sub(2), Some(index + 2)]
            .into_iter()
            .flatten()
        {
            let (Some(small), Some(large)) = (bands.get(index), bands.get(neighbour)) else { continue };
            let offset = (small.v - large.v) / large.size;
            let is_script = |run: &Run| run.size < 0.85 * large.size;
            let fits = (-0.4..0.75).contains(&offset) && small.runs.iter().any(is_script);
            if !fits || small.runs.len() > MAX_RUNS {
                continue;
            }
            let mut ends: Vec<(f32, f32)> = large.runs.iter().map(|run| (run.u0, run.u1)).collect();
            ends.sort_by(|a, b| a.0.total_cmp(&b.0));
            let reach = 0.4 * large.size;
            let touches = |run: &Run| {
                if !is_script(run) {
                    return false;
                }
                let after = ends.partition_point(|end| end.0 <= run.u0);
                let before = after.checked_sub(1).and_then(|index| ends.get(index));
                let overlap = 0.3 * (run.u1 - run.u0) + 0.2 * large.size;
                before.is_some_and(|end| run.u0 - end.1 < reach && run.u0 - end.1 > -overlap)
                    || ends.get(after).is_some_and(|end| end.0 - run.u1 < reach && end.0 - run.u1 > -overlap)
            };
            let moves: Vec<bool> = small.runs.iter().map(touches).collect();
            let mut flags = moves.iter();
            let mut moved = Vec::new();
            if let Some(small) = bands.get_mut(index) {
                small.runs.retain(|run| {
                    let goes = flags.next().copied().unwrap_or(false);
                    if goes {
                        moved.push(run.clone());
                    }
                    !goes
                });
            }
            if let Some(large) = bands.get_mut(neighbour) {
                large.runs.append(&mut moved);
            }
        }
    }
}

/// Sorts by place and drops what is drawn twice (shadows, poor man's bold).
fn sort(mut items: Vec<Item>, arena: &str) -> Vec<Item> {
    // By the middle: a zero-width non-joiner then stands between its neighbours whatever the rounding.
    items.sort_by(|a, b| a.center().total_cmp(&b.center()));
    let mut kept: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        let twice = kept.iter().rev().take(3).any(|other| {
            (item.center() - other.center()).abs() < 0.12 * item.size
                && (item.v - other.v).abs() < 0.15 * item.size
                && (item.size - other.size).abs() < 0.2 * item.size
                && item.u1 - item.u0 > 0.0
                && text_of(arena, other) == text_of(arena, &item)
        });
        if !twice {
            kept.push(item);
        }
    }
    kept
}

fn is_mark(letter: char) -> bool {
    matches!(letter,
        '\u{300}'..='\u{36F}' | '\u{591}'..='\u{5BD}' | '\u{5BF}' | '\u{5C1}' | '\u{5C2}' | '\u{5C4}' | '\u{5C5}' | '\u{5C7}'
        | '\u{610}'..='\u{61A}' | '\u{64B}'..='\u{65F}' | '\u{670}' | '\u{6D6}'..='\u{6DC}' | '\u{6DF}'..='\u{6E4}'
        | '\u{6E7}' | '\u{6E8}' | '\u{6EA}'..='\u{6ED}' | '\u{8D3}'..='\u{8FF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}')
}

/// The combining form of an accent that is drawn as a glyph of its own over a letter.
fn combining(accent: &str) -> Option<char> {
    Some(match accent {
        "\u{60}" | "\u{2CB}" => '\u{300}',
        "\u{B4}" | "\u{2CA}" => '\u{301}',
        "\u{2C6}" | "^" => '\u{302}',
        "\u{2DC}" | "~" => '\u{303}',
        "\u{AF}" | "\u{2C9}" => '\u{304}',
        "\u{2D8}" => '\u{306}',
        "\u{2D9}" => '\u{307}',
        "\u{A8}" => '\u{308}',
        "\u{2DA}" => '\u{30A}',
        "\u{2DD}" => '\u{30B}',
        "\u{2C7}" => '\u{30C}',
        "\u{B8}" => '\u{327}',
        "\u{2DB}" => '\u{328}',
        _ => return None,
    })
}

/// Puts combining marks, and accents drawn over letters, behind the letter they belong to.
fn attach_marks(items: Vec<Item>, arena: &mut String) -> Vec<Item> {
    let is_marks = |item: &Item| {
        let text = text_of(arena, item);
        !text.is_empty() && text.chars().all(is_mark)
    };
    let accent = |item: &Item| combining(text_of(arena, item));
    if !items.iter().any(|item| is_marks(item) || accent(item).is_some()) {
        return items;
    }
    let mut bases: Vec<(Item, u8)> = Vec::with_capacity(items.len());
    let mut marks: Vec<(Item, Option<char>)> = Vec::new();
    for item in items {
        if is_marks(&item) {
            marks.push((item, None));
        } else if let Some(letter) = accent(&item) {
            marks.push((item, Some(letter)));
        } else {
            bases.push((item, 0));
        }
    }
    let mut alone = Vec::new();
    for (mark, letter) in marks {
        let at = mark.center();
        let after = bases.partition_point(|(base, _)| base.center() <= at);
        let near = [after.checked_sub(1), Some(after)].into_iter().flatten();
        let slack = if letter.is_some() { 0.0 } else { 0.35 * mark.size };
        let best = near
            .filter_map(|index| {
                let (base, count) = bases.get(index)?;
                let text = text_of(arena, base);
                let takes =
                    text.chars().next_back().is_some_and(|letter| letter.is_alphabetic() || is_mark(letter));
                let distance = (base.u0 - at).max(at - base.u1).max(0.0);
                (takes && *count < MAX_MARKS && distance <= slack).then_some((index, distance))
            })
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((base, count)) = best.and_then(|(index, _)| bases.get_mut(index)) else {
            alone.push(mark);
            continue;
        };
        let mut text = text_of(arena, base).to_owned();
        match letter {
            Some(letter) => text.push(letter),
            None => text.push_str(text_of(arena, &mark)),
        }
        if letter.is_some() {
            text = unicode_normalization::UnicodeNormalization::nfc(text.as_str()).collect();
        }
        base.from = u32::try_from(arena.len()).unwrap_or(u32::MAX);
        arena.push_str(&text);
        base.to = u32::try_from(arena.len()).unwrap_or(u32::MAX);
        *count += 1;
    }
    let mut items: Vec<Item> = bases.into_iter().map(|(base, _)| base).chain(alone).collect();
    items.sort_by(|a, b| a.center().total_cmp(&b.center()));
    items
}

fn is_space(text: &str) -> bool {
    text.chars().all(|letter| letter.is_whitespace() || letter == '\u{200B}')
}

fn is_wide_script(text: &str) -> bool {
    text.chars().any(|letter| matches!(letter, '\u{2E80}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}'))
}

/// Cuts sorted items into words: at spaces and at gaps.
fn words(items: &[Item], arena: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut start = 0;
    // Stretches without a wide gap have a letter spacing of their own.
    while start < items.len() {
        let mut end = start + 1;
        while let (Some(before), Some(item)) = (items.get(end - 1), items.get(end)) {
            if item.u0 - before.u1 > CELL_GAP * item.size {
                break;
            }
            end += 1;
        }
        stretch(items.get(start..end).unwrap_or_default(), arena, &mut words);
        start = end;
    }
    words
}

fn stretch(items: &[Item], arena: &str, words: &mut Vec<Word>) {
    let spacing = letter_spacing(items, arena);
    let mut open: Option<Word> = None;
    let mut wide = false;
    for item in items {
        let text = text_of(arena, item);
        if is_space(text) {
            // Between tracked letters even a space is only known by its width.
            if spacing == 0.0 || item.u1 - item.u0 > 0.05 * item.size {
                words.extend(open.take());
            }
            continue;
        }
        let is_wide = is_wide_script(text);
        match &mut open {
            Some(word) => {
                let size = word.items.last().map_or(item.size, |last| last.size.max(item.size));
                let limit = if wide && is_wide { 0.6 } else { WORD_GAP };
                if item.u0 - word.u1 > (limit + spacing) * size {
                    words.extend(open.take());
                    open = Some(Word { u0: item.u0, u1: item.u1, items: vec![*item] });
                } else {
                    word.u1 = word.u1.max(item.u1);
                    word.items.push(*item);
                }
            }
            None => open = Some(Word { u0: item.u0, u1: item.u1, items: vec![*item] }),
        }
        wide = is_wide;
    }
    words.extend(open);
}

/// The extra space between the letters of a tracked heading, in ems; 0 for ordinary text.
fn letter_spacing(items: &[Item], arena: &str) -> f32 {
    const FEWEST: usize = 3;
    let mut gaps = Vec::new();
    let mut letters = 0_usize;
    for pair in items.windows(2) {
        let [before, after] = pair else { continue };
        let (first, second) = (text_of(arena, before), text_of(arena, after));
        if is_space(first) || is_space(second) {
            continue;
        }
        letters +=
            usize::from(first.chars().all(char::is_alphabetic) && second.chars().all(char::is_alphabetic));
        gaps.push((after.u0 - before.u1) / after.size.max(before.size));
    }
    if gaps.len() < FEWEST || letters * 10 < gaps.len() * 7 {
        return 0.0;
    }
    gaps.sort_by(f32::total_cmp);
    let at = |part: usize| gaps.get(gaps.len() * part / 8).copied().unwrap_or_default();
    // Most gaps alike and wide: tracking. Gaps that differ are words of one letter.
    let (low, middle) = (at(1), at(4));
    // Few gaps may as well be the spaces between a few letters, which are wider.
    let widest = if gaps.len() < 6 { 0.22 } else { 0.8 };
    if low > 0.08 && middle > 0.1 && middle < widest && middle - low < 0.12 { middle } else { 0.0 }
}
