//! Tokens of content streams and character maps.
//!
//! Both are written in the same syntax: operands, then an operator. This reader goes on after anything it cannot
//! understand, borrows from its input where it can, and is bounded in depth and in the length of arrays.

use std::borrow::Cow;

/// How deep arrays and dictionaries may be nested; deeper ones are read as empty.
const MAX_DEPTH: usize = 24;
/// Most elements of an array or dictionary that are kept.
const MAX_ITEMS: usize = 65_536;

/// A value before an operator.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand<'a> {
    Number(f32),
    Name(Cow<'a, [u8]>),
    String(Cow<'a, [u8]>),
    Array(Vec<Self>),
    Dict(Vec<(Cow<'a, [u8]>, Self)>),
    /// `true`, `false`, `null`.
    Other,
}

impl Operand<'_> {
    pub(super) fn number(&self) -> Option<f32> {
        match self {
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn name(&self) -> Option<&[u8]> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// What comes next in a stream.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    Operand(Operand<'a>),
    Operator(&'a [u8]),
}

/// Reads tokens from bytes.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    data: &'a [u8],
    at: usize,
}

fn is_white(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 0x0c | b'\r' | b' ')
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl<'a> Lexer<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.data.get(self.at).copied()
    }

    fn slice(&self, from: usize, to: usize) -> &'a [u8] {
        self.data.get(from..to).unwrap_or_default()
    }

    fn skip_white(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b'%' {
                while self.peek().is_some_and(|byte| byte != b'\n' && byte != b'\r') {
                    self.at += 1;
                }
            } else if is_white(byte) {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    /// The next token; `None` at the end.
    pub(super) fn token(&mut self) -> Option<Token<'a>> {
        self.token_at(0)
    }

    fn token_at(&mut self, depth: usize) -> Option<Token<'a>> {
        loop {
            self.skip_white();
            let byte = self.peek()?;
            let operand = match byte {
                b'(' => Operand::String(self.literal_string()),
                b'<' if self.data.get(self.at + 1) == Some(&b'<') => {
                    self.at += 2;
                    self.dictionary(depth)
                }
                b'<' => Operand::String(self.hex_string()),
                b'/' => Operand::Name(self.name()),
                b'[' => {
                    self.at += 1;
                    self.array(depth)
                }
                b'+' | b'-' | b'.' | b'0'..=b'9' => match self.number() {
                    Some(value) => Operand::Number(value),
                    None => continue,
                },
                // A closing bracket that nothing opened, or PostScript's braces.
                b')' | b']' | b'{' | b'}' => {
                    self.at += 1;
                    continue;
                }
                b'>' => {
                    self.at += 1;
                    if self.peek() == Some(b'>') {
                        self.at += 1;
                    }
                    continue;
                }
                _ => {
                    let start = self.at;
                    while self.peek().is_some_and(|byte| !is_white(byte) && !is_delimiter(byte)) {
                        self.at += 1;
                    }
                    match self.slice(start, self.at) {
                        b"true" | b"false" | b"null" => Operand::Other,
                        word => return Some(Token::Operator(word)),
                    }
                }
            };
            return Some(Token::Operand(operand));
        }
    }

    /// A number, read as leniently as viewers do: `1.2.3` is 1.2, `--5` is -5, `1-2` is 1.
    fn number(&mut self) -> Option<f32> {
        let start = self.at;
        while self.peek().is_some_and(|byte| matches!(byte, b'+' | b'-' | b'.' | b'0'..=b'9' | b'e' | b'E')) {
            // An exponent does not exist in PDF, yet some write one; a letter after digits is otherwise an operator.
            if matches!(self.peek(), Some(b'e' | b'E'))
                && !matches!(self.data.get(self.at + 1), Some(b'+' | b'-' | b'0'..=b'9'))
            {
                break;
            }
            self.at += 1;
        }
        let text = self.slice(start, self.at);
        if let Some(value) = simple_number(text) {
            return Some(value);
        }
        let text = std::str::from_utf8(text).ok()?;
        if let Ok(value) = text.parse::<f32>() {
            return value.is_finite().then_some(value);
        }
        let digits = text.trim_start_matches(['+', '-']);
        let negative = text.starts_with('-');
        let mut dots = 0;
        let end = digits
            .find(|letter: char| {
                dots += usize::from(letter == '.');
                dots > 1 || !(letter.is_ascii_digit() || letter == '.')
            })
            .unwrap_or(digits.len());
        let value: f32 = digits.get(..end)?.parse().ok().filter(|value: &f32| value.is_finite())?;
        Some(if negative { -value } else { value })
    }

    fn name(&mut self) -> Cow<'a, [u8]> {
        self.at += 1;
        let start = self.at;
        while self.peek().is_some_and(|byte| !is_white(byte) && !is_delimiter(byte)) {
            self.at += 1;
        }
        let raw = self.slice(start, self.at);
        if !raw.contains(&b'#') {
            return Cow::Borrowed(raw);
        }
        let mut out = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((&byte, after)) = rest.split_first() {
            if byte == b'#'
                && let [high, low, tail @ ..] = after
                && let (Some(high), Some(low)) = (hex(*high), hex(*low))
            {
                out.push(high << 4 | low);
                rest = tail;
            } else {
                out.push(byte);
                rest = after;
            }
        }
        Cow::Owned(out)
    }

    fn literal_string(&mut self) -> Cow<'a, [u8]> {
        self.at += 1;
        let start = self.at;
        // Most strings need no change and are borrowed.
        let mut end = start;
        while let Some(byte) = self.data.get(end) {
            match byte {
                b')' => {
                    self.at = end + 1;
                    return Cow::Borrowed(self.slice(start, end));
                }
                b'\\' | b'(' | b'\r' => break,
                _ => end += 1,
            }
        }
        let mut out = self.slice(start, end).to_vec();
        self.at = end;
        let mut open = 1_usize;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'(' => open += 1,
                b')' => {
                    open -= 1;
                    if open == 0 {
                        break;
                    }
                }
                b'\\' => {
                    self.escape(&mut out);
                    continue;
                }
                b'\r' => {
                    if self.peek() == Some(b'\n') {
                        self.at += 1;
                    }
                    out.push(b'\n');
                    continue;
                }
                _ => {}
            }
            out.push(byte);
        }
        Cow::Owned(out)
    }

    fn escape(&mut self, out: &mut Vec<u8>) {
        let Some(byte) = self.peek() else { return };
        self.at += 1;
        match byte {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'\r' => {
                if self.peek() == Some(b'\n') {
                    self.at += 1;
                }
            }
            b'\n' => {}
            b'0'..=b'7' => {
                let mut value = u32::from(byte - b'0');
                for _ in 0..2 {
                    let Some(digit @ b'0'..=b'7') = self.peek() else { break };
                    value = value * 8 + u32::from(digit - b'0');
                    self.at += 1;
                }
                out.push(u8::try_from(value & 0xff).unwrap_or_default());
            }
            other => out.push(other),
        }
    }

    fn hex_string(&mut self) -> Cow<'a, [u8]> {
        self.at += 1;
        let mut out = Vec::new();
        let mut high = None;
        while let Some(byte) = self.peek() {
            self.at += 1;
            if byte == b'>' {
                break;
            }
            let Some(digit) = hex(byte) else { continue };
            match high.take() {
                Some(first) => out.push(first << 4 | digit),
                None => high = Some(digit),
            }
        }
        if let Some(first) = high {
            out.push(first << 4);
        }
        Cow::Owned(out)
    }

    fn array(&mut self, depth: usize) -> Operand<'a> {
        let mut items = Vec::new();
        loop {
            self.skip_white();
            match self.peek() {
                None => break,
                Some(b']') => {
                    self.at += 1;
                    break;
                }
                _ => {}
            }
            if depth >= MAX_DEPTH {
                // Too deep: nothing of it is kept, and its brackets are skipped one by one by the caller's loop.
                break;
            }
            let Some(token) = self.token_at(depth + 1) else { break };
            match token {
                Token::Operand(operand) if items.len() < MAX_ITEMS => items.push(operand),
                Token::Operand(_) => {}
                // An operator inside an array: the bracket was never closed.
                Token::Operator(word) => {
                    self.at = self.at.saturating_sub(word.len());
                    break;
                }
            }
        }
        Operand::Array(items)
    }

    fn dictionary(&mut self, depth: usize) -> Operand<'a> {
        let mut items = Vec::new();
        loop {
            self.skip_white();
            match self.peek() {
                Some(b'>') => {
                    self.at += 1;
                    if self.peek() == Some(b'>') {
                        self.at += 1;
                    }
                    break;
                }
                Some(b'/') if depth < MAX_DEPTH => {
                    let key = self.name();
                    match self.token_at(depth + 1) {
                        Some(Token::Operand(value)) if items.len() < MAX_ITEMS => items.push((key, value)),
                        Some(_) => {}
                        None => break,
                    }
                }
                _ => break,
            }
        }
        Operand::Dict(items)
    }

    /// Skips the data of an inline image; called after `ID`. What follows must look like content again.
    pub(super) fn skip_inline_image(&mut self) {
        let mut at = self.at + 1;
        while let Some(found) = self.slice(at, self.data.len()).windows(2).position(|pair| pair == b"EI") {
            let begin = at + found;
            let end = begin + 2;
            let before = begin
                .checked_sub(1)
                .and_then(|index| self.data.get(index))
                .is_none_or(|byte| is_white(*byte));
            let after = self.data.get(end).is_none_or(|byte| is_white(*byte));
            let next = self.slice(end, (end + 12).min(self.data.len()));
            let plain = next.iter().all(|byte| is_white(*byte) && *byte != 0 || (0x20..0x7f).contains(byte));
            if before && after && plain {
                self.at = end;
                return;
            }
            at = end;
        }
        self.at = self.data.len();
    }
}

/// The common shapes of numbers, without a detour over strings.
fn simple_number(text: &[u8]) -> Option<f32> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let mut value = 0_u32;
    let mut scale = 0_u32;
    let mut dot = false;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                value = value * 10 + u32::from(byte - b'0');
                scale = if dot { scale * 10 } else { scale };
            }
            b'.' if !dot => {
                dot = true;
                scale = 1;
            }
            _ => return None,
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "coordinates: seven digits are plenty")]
    let value = if dot { value as f32 / scale as f32 } else { value as f32 };
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(data: &[u8]) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(data);
        std::iter::from_fn(|| lexer.token()).collect()
    }

    fn text(value: &'static [u8]) -> Token<'static> {
        Token::Operand(Operand::String(Cow::Borrowed(value)))
    }

    #[test]
    fn strings_and_names() {
        assert_eq!(tokens(b"(a(b)\\)\\101\\n) Tj"), [text(b"a(b))A\n"), Token::Operator(b"Tj")]);
        assert_eq!(tokens(b"<48 656C6>"), [text(b"Hel\x60")]);
        assert_eq!(tokens(b"/A#42#zz"), [Token::Operand(Operand::Name(Cow::Borrowed(b"AB#zz")))]);
        assert_eq!(tokens(b"(unclosed"), [text(b"unclosed")]);
    }

    #[test]
    fn numbers_are_read_leniently() {
        let numbers: Vec<f32> = tokens(b"1 -2.5 .5 +3 --4 1.2.3 0.0000000001234 1e3 7-8 12345678901")
            .iter()
            .filter_map(|token| match token {
                Token::Operand(operand) => operand.number(),
                Token::Operator(_) => None,
            })
            .collect();
        assert_eq!(numbers, [1.0, -2.5, 0.5, 3.0, -4.0, 1.2, 1.234e-10, 1000.0, 7.0, 12_345_678_901.0]);
    }

    #[test]
    fn nesting_is_bounded_and_ends() {
        let deep = "[".repeat(1_000_000);
        tokens(deep.as_bytes());
        let deep = "<</A".repeat(300_000);
        tokens(deep.as_bytes());
        assert_eq!(tokens(b"[1 2 Tj").len(), 2);
    }

    #[test]
    fn inline_images_are_skipped() {
        let data = b"\x00\x01 EI\x80\xffEI \nEI Q";
        let mut lexer = Lexer::new(data);
        lexer.skip_inline_image();
        assert_eq!(lexer.token(), Some(Token::Operator(b"Q")));
    }
}
