//! The page tree, walked without trust in its counts, types or ends.

use std::collections::HashSet;

use lopdf::{Dictionary, Document, Object, ObjectId};

use super::matrix::{Matrix, Rect};
use super::objects::{as_dict, get, get_array, get_name, get_number, numbers, resolve};
use crate::TextError;

/// How deep the tree may be.
const MAX_DEPTH: usize = 64;
/// Most nodes that are looked at.
const MAX_NODES: usize = 200_000;

/// A page with what it inherits.
#[derive(Debug, Clone)]
pub(super) struct PageNode {
    pub id: ObjectId,
    /// The node that has its `/Resources`: the page or one above it.
    pub resources: Option<ObjectId>,
    /// The visible part of the page.
    pub bounds: Rect,
    /// Quarter turns clockwise.
    pub turns: u8,
}

impl PageNode {
    /// The transformation that shows the page as `/Rotate` wants it.
    pub(super) fn upright(&self) -> Matrix {
        match self.turns {
            1 => Matrix::new([0.0, -1.0, 1.0, 0.0, 0.0, 0.0]),
            2 => Matrix::new([-1.0, 0.0, 0.0, -1.0, 0.0, 0.0]),
            3 => Matrix::new([0.0, 1.0, -1.0, 0.0, 0.0, 0.0]),
            _ => Matrix::IDENTITY,
        }
    }
}

/// What a node of the tree passes on.
#[derive(Debug, Clone, Default)]
struct Inherited {
    resources: Option<ObjectId>,
    media_box: Option<[f32; 4]>,
    crop_box: Option<[f32; 4]>,
    rotate: f32,
}

impl Inherited {
    fn with(&self, doc: &Document, id: ObjectId, node: &Dictionary) -> Self {
        let rectangle = |key| get_array(doc, node, key).and_then(|items| numbers::<4>(doc, items));
        Self {
            resources: get(doc, node, b"Resources").map(|_| id).or(self.resources),
            media_box: rectangle(b"MediaBox").or(self.media_box),
            crop_box: rectangle(b"CropBox").or(self.crop_box),
            rotate: get_number(doc, node, b"Rotate").unwrap_or(self.rotate),
        }
    }

    fn page(self, id: ObjectId) -> PageNode {
        let sized = |[x0, y0, x1, y1]: [f32; 4]| {
            let rect = Rect::of_corners((x0, y0), (x1, y1));
            (rect.width() > 1.0 && rect.height() > 1.0).then_some(rect)
        };
        let letter = Rect { x0: 0.0, y0: 0.0, x1: 612.0, y1: 792.0 };
        let media = self.media_box.and_then(sized);
        let crop = self.crop_box.and_then(sized);
        let bounds = crop.or(media).unwrap_or(letter);
        let turns = match (self.rotate / 90.0).rem_euclid(4.0) {
            turns if turns < 0.5 => 0,
            turns if turns < 1.5 => 1,
            turns if turns < 2.5 => 2,
            turns if turns < 3.5 => 3,
            _ => 0,
        };
        PageNode { id, resources: self.resources, bounds, turns }
    }
}

/// The pages in order.
///
/// A tree that leads nowhere is replaced by all page objects of the file, in the order of their numbers.
pub(super) fn list(doc: &Document, max_pages: u32) -> Result<Vec<PageNode>, TextError> {
    let limit = usize::try_from(max_pages).unwrap_or(usize::MAX);
    let root = doc
        .trailer
        .get(b"Root")
        .ok()
        .and_then(|root| resolve(doc, root))
        .and_then(as_dict)
        .and_then(|catalog| catalog.get(b"Pages").ok())
        .and_then(|pages| pages.as_reference().ok());
    let mut pages = Vec::new();
    if let Some(root) = root {
        walk(doc, root, limit, &mut pages);
    }
    if pages.is_empty() {
        let is_page = |object: &Object| {
            as_dict(object).is_some_and(|dict| get_name(doc, dict, b"Type") == Some(b"Page"))
        };
        let found = doc.objects.iter().filter(|(_, object)| is_page(object)).take(limit.saturating_add(1));
        pages.extend(found.filter_map(|(id, object)| {
            Some(Inherited::default().with(doc, *id, as_dict(object)?).page(*id))
        }));
    }
    if pages.len() > limit {
        return Err(TextError::TooManyPages { limit: max_pages });
    }
    if pages.is_empty() {
        return Err(TextError::corrupt("the page tree has no pages"));
    }
    Ok(pages)
}

fn walk(doc: &Document, root: ObjectId, limit: usize, pages: &mut Vec<PageNode>) {
    let mut seen = HashSet::new();
    let mut stack = vec![(root, Inherited::default(), 0_usize)];
    while let Some((id, inherited, depth)) = stack.pop() {
        if pages.len() > limit || seen.len() > MAX_NODES {
            return;
        }
        // The same page twice is a loop or a trick; the same tree twice certainly is.
        if depth > MAX_DEPTH || !seen.insert(id) {
            continue;
        }
        let Some(node) = doc.objects.get(&id).and_then(as_dict) else {
            // A page that cannot be read still counts, so that the numbers of the others stay right.
            if depth > 0 {
                pages.push(inherited.page(id));
            }
            continue;
        };
        let inherited = inherited.with(doc, id, node);
        let kids = get_array(doc, node, b"Kids");
        match kids {
            Some(kids) if get_name(doc, node, b"Type") != Some(b"Page") => {
                // One list of kids may be shared by many nodes: what was seen is not put aside again.
                let room = MAX_NODES.saturating_sub(stack.len());
                let kids = kids.iter().take(MAX_NODES).filter_map(|kid| kid.as_reference().ok());
                let kids = kids.filter(|kid| !seen.contains(kid)).take(limit.saturating_add(1)).take(room);
                let kids: Vec<ObjectId> = kids.collect();
                stack.extend(kids.into_iter().rev().map(|kid| (kid, inherited.clone(), depth + 1)));
            }
            _ => {
                let is_page = get_name(doc, node, b"Type") == Some(b"Page")
                    || get(doc, node, b"Contents").is_some()
                    || get(doc, node, b"MediaBox").is_some();
                if is_page {
                    pages.push(inherited.page(id));
                }
            }
        }
    }
}
