//! The public face: formats, limits, pages.

use std::time::Instant;

use crate::{TextError, clean, furniture, markdown, pdf, plain};

/// A kind of file that can be read.
///
/// A new kind is a variant here, its signature in `sniff`, and a source of pages in [`pages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// PDF 1.0 to 2.0.
    Pdf,
    /// Text without markup, in UTF-8, UTF-16 or a legacy encoding.
    PlainText,
    /// `CommonMark` with tables.
    Markdown,
}

impl Format {
    /// The media type, as in the IANA registry.
    #[must_use]
    pub fn mime(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::PlainText => "text/plain",
            Self::Markdown => "text/markdown",
        }
    }

    /// The usual file name extension, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::PlainText => "txt",
            Self::Markdown => "md",
        }
    }
}

/// Bounds on what one file may cost. The defaults held on a collection of hostile files within 512 MB.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest file, in bytes (25 MiB).
    pub max_bytes: usize,
    /// Most pages (500).
    pub max_pages: u32,
    /// When to give up; checked several times a page.
    pub deadline: Option<Instant>,
    /// Largest object stream of a PDF after decompression, in bytes (64 MiB).
    pub max_object_stream_bytes: usize,
    /// Largest content stream of a page, form, font or character map after decompression, in bytes (32 MiB).
    pub max_stream_bytes: usize,
    /// Most bytes of content streams read for one page, forms counted each time they are drawn (128 MiB).
    pub max_page_content_bytes: usize,
    /// Most glyphs on one page (400 000).
    pub max_page_glyphs: usize,
    /// Most operators on one page, those of its forms included (3 000 000).
    pub max_page_operators: usize,
    /// How deep forms may draw forms (12).
    pub max_form_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 25 * 1024 * 1024,
            max_pages: 500,
            deadline: None,
            max_object_stream_bytes: 64 << 20,
            max_stream_bytes: 32 << 20,
            max_page_content_bytes: 128 << 20,
            max_page_glyphs: 400_000,
            max_page_operators: 3_000_000,
            max_form_depth: 12,
        }
    }
}

impl Limits {
    /// These limits with a point in time at which reading stops with [`TextError::DeadlineExceeded`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Fails when the deadline has passed.
    pub(crate) fn check_deadline(&self) -> Result<(), TextError> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(TextError::DeadlineExceeded),
            _ => Ok(()),
        }
    }
}

/// A file as clean text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// The pages in order; a format without pages has one.
    pub pages: Vec<Page>,
    /// The title the file itself states, cleaned.
    pub title: Option<String>,
}

/// The clean text of a page.
///
/// Paragraphs are separated by an empty line; inside a paragraph the lines of the original are joined. Rows of a table
/// keep a line each, with a tab between cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Number of the page, from 1.
    pub number: u32,
    /// The text, in logical order.
    pub text: String,
    /// Whether the page has any text; one without is most often a scan.
    pub has_text: bool,
}

impl Page {
    /// A page of this text.
    #[must_use]
    pub fn new(number: u32, text: String) -> Self {
        let has_text = !text.trim().is_empty();
        Self { number, text, has_text }
    }
}

/// Reads a whole file.
///
/// Beyond [`pages`] this drops headers and footers that repeat on at least half of the pages, and a document without
/// any text is [`TextError::NoText`].
pub fn extract(bytes: &[u8], format: Format, limits: &Limits) -> Result<Document, TextError> {
    let mut source = Pages::open(bytes, format, limits)?;
    let title = source.title();
    let mut raw = Vec::new();
    while let Some(page) = source.next_raw() {
        raw.push(page?);
    }
    furniture::drop_repeated(&mut raw);
    let pages: Vec<Page> = raw.iter().map(RawPage::finish).collect();
    if pages.iter().any(|page| page.has_text) {
        Ok(Document { pages, title })
    } else {
        Err(TextError::NoText)
    }
}

/// Reads a file page by page: no more than one page is in memory besides the file itself.
///
/// Headers and footers are kept, since what repeats is only known at the end; [`extract`] drops them.
pub fn pages<'a>(bytes: &'a [u8], format: Format, limits: &'a Limits) -> Result<Pages<'a>, TextError> {
    Pages::open(bytes, format, limits)
}

/// Iterator over the pages of a file, made by [`pages`]. It ends after the first error.
#[derive(Debug)]
pub struct Pages<'a> {
    source: Source<'a>,
    failed: bool,
}

#[derive(Debug)]
enum Source<'a> {
    Pdf(Box<pdf::Reader<'a>>),
    Parts { title: Option<String>, parts: std::vec::IntoIter<RawPage> },
}

impl<'a> Pages<'a> {
    fn open(bytes: &'a [u8], format: Format, limits: &'a Limits) -> Result<Self, TextError> {
        if bytes.is_empty() {
            return Err(TextError::EmptyFile);
        }
        if bytes.len() > limits.max_bytes {
            return Err(TextError::FileTooLarge {
                bytes: bytes.len().try_into().unwrap_or(u64::MAX),
                limit: limits.max_bytes.try_into().unwrap_or(u64::MAX),
            });
        }
        limits.check_deadline()?;
        let source = match format {
            Format::Pdf => Source::Pdf(Box::new(pdf::Reader::open(bytes, limits)?)),
            Format::PlainText => {
                Source::Parts { title: None, parts: plain::read(bytes, limits)?.into_iter() }
            }
            Format::Markdown => {
                let (title, parts) = markdown::read(bytes)?;
                Source::Parts { title, parts: parts.into_iter() }
            }
        };
        Ok(Self { source, failed: false })
    }

    /// The title the file itself states, cleaned.
    #[must_use]
    pub fn title(&self) -> Option<String> {
        match &self.source {
            Source::Pdf(reader) => reader.title(),
            Source::Parts { title, .. } => title.clone(),
        }
    }

    fn next_raw(&mut self) -> Option<Result<RawPage, TextError>> {
        if self.failed {
            return None;
        }
        let next = match &mut self.source {
            Source::Pdf(reader) => reader.next_page(),
            Source::Parts { parts, .. } => parts.next().map(Ok),
        };
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<Page, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_raw().map(|page| page.map(|page| page.finish()))
    }
}

/// A page as lines, before headers and footers are dropped and lines are joined.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawPage {
    pub number: u32,
    pub lines: Vec<RawLine>,
}

/// A line of a page in logical order.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawLine {
    pub text: String,
    /// How the line stands to the one before it.
    pub after: Break,
    /// Whether it is at the upper or lower edge of the page, where headers and footers are.
    pub edge: bool,
}

/// What separates a line from the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Break {
    /// The same paragraph goes on.
    #[default]
    Soft,
    /// A new line, as in a table or a list.
    Line,
    /// A new paragraph.
    Paragraph,
}

impl RawPage {
    /// Joins the lines and cleans the text.
    pub(crate) fn finish(&self) -> Page {
        Page::new(self.number, clean::join(&self.lines))
    }
}
