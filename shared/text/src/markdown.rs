//! Markdown to readable text: marks go, structure stays.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::document::{Break, RawLine, RawPage};
use crate::{TextError, clean, plain};

/// Reads a Markdown file as one page; its first level-one heading is the title.
pub(crate) fn read(bytes: &[u8]) -> Result<(Option<String>, Vec<RawPage>), TextError> {
    let source = plain::decode(bytes);
    if source.trim().is_empty() {
        return Err(TextError::NoText);
    }
    let mut writer = Writer::default();
    for event in Parser::new_ext(&source, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES) {
        writer.event(event);
    }
    writer.end_line();
    let title = writer.title.map(|title| clean::line(&title)).filter(|title| !title.is_empty());
    Ok((title, vec![RawPage { number: 1, lines: writer.lines }]))
}

#[derive(Default)]
struct Writer {
    lines: Vec<RawLine>,
    line: String,
    next: Break,
    title: Option<String>,
    in_title: bool,
    in_code: bool,
    /// Numbers of the open lists; `None` is a list of bullets.
    lists: Vec<Option<u64>>,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.text(&text),
            Event::Code(text) => self.line.push_str(&text),
            Event::SoftBreak => self.line.push(' '),
            Event::HardBreak => self.break_line(Break::Line),
            Event::Rule => self.break_line(Break::Paragraph),
            // Markup and its comments are not text; footnote marks carry none.
            _ => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Paragraph if self.line.is_empty() => self.paragraph(),
            Tag::Heading { level, .. } => {
                self.break_line(Break::Paragraph);
                self.in_title = *level == pulldown_cmark::HeadingLevel::H1 && self.title.is_none();
                if self.in_title {
                    self.title = Some(String::new());
                }
            }
            Tag::CodeBlock(_) => {
                self.break_line(Break::Paragraph);
                self.in_code = true;
            }
            Tag::List(first) => {
                self.break_line(if self.lists.is_empty() { Break::Paragraph } else { Break::Line });
                self.lists.push(*first);
            }
            Tag::Item => {
                self.break_line(Break::Line);
                let depth = self.lists.len().saturating_sub(1).min(8);
                self.line.push_str(&"  ".repeat(depth));
                match self.lists.last_mut() {
                    Some(Some(number)) => {
                        self.line.push_str(&number.to_string());
                        self.line.push_str(". ");
                        *number = number.saturating_add(1);
                    }
                    _ => self.line.push_str("- "),
                }
            }
            Tag::Table(_) | Tag::BlockQuote(_) | Tag::FootnoteDefinition(_) => {
                self.break_line(Break::Paragraph);
            }
            Tag::TableHead | Tag::TableRow => self.break_line(Break::Line),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                self.in_title = false;
                self.break_line(Break::Paragraph);
            }
            TagEnd::CodeBlock => {
                self.in_code = false;
                self.break_line(Break::Paragraph);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.break_line(if self.lists.is_empty() { Break::Paragraph } else { Break::Line });
            }
            TagEnd::TableCell => self.line.push('\t'),
            TagEnd::Paragraph if self.lists.is_empty() => self.break_line(Break::Paragraph),
            TagEnd::Paragraph | TagEnd::Item => self.break_line(Break::Line),
            TagEnd::Table | TagEnd::BlockQuote(_) => self.break_line(Break::Paragraph),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_title
            && let Some(title) = &mut self.title
        {
            title.push_str(text);
        }
        if !self.in_code {
            self.line.push_str(text);
            return;
        }
        let mut parts = text.split('\n').peekable();
        while let Some(part) = parts.next() {
            self.line.push_str(part);
            if parts.peek().is_some() {
                self.break_line(Break::Line);
            }
        }
    }

    fn paragraph(&mut self) {
        if self.lists.is_empty() {
            self.break_line(Break::Paragraph);
        }
    }

    /// Ends the line; the next one follows after at least this break.
    fn break_line(&mut self, next: Break) {
        if self.end_line() || self.next != Break::Paragraph {
            self.next = next;
        }
    }

    fn end_line(&mut self) -> bool {
        let text = std::mem::take(&mut self.line);
        if text.trim().is_empty() {
            return false;
        }
        self.lines.push(RawLine { text: text.trim_end().to_owned(), after: self.next, edge: false });
        self.next = Break::Line;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_becomes_text() {
        let source = "# The *title*\n\nA [link](http://x) and\n`code`.\n\n- one\n- two\n  1. deep\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```rust\nfn x() {}\nlet y;\n```\n<!-- no -->\nend";
        let (title, pages) = read(source.as_bytes()).expect("readable");
        assert_eq!(title.as_deref(), Some("The title"));
        assert_eq!(
            pages[0].finish().text,
            "The title\n\nA link and code.\n\n- one\n- two\n1. deep\n\na\tb\n1\t2\n\nfn x() {}\nlet y;\n\nend"
        );
    }

    #[test]
    fn nothing_but_white_space_is_no_text() {
        assert_eq!(read(b" \n\n").unwrap_err(), TextError::NoText);
    }
}
