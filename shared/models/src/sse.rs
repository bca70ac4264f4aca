//! Server-sent events (WHATWG HTML, section 9.2), as far as model services use them: `data:` lines and comments.

/// Puts events together from pieces of any size, cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: Vec<u8>,
    data: Vec<u8>,
    seen_cr: bool,
}

/// An event larger than this is not one of ours, and is not collected in memory.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// The stream is not one of server-sent events that a model service sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Decoder {
    /// Takes more bytes in and appends the data of every event that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], events: &mut Vec<String>) -> Result<(), TooLarge> {
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.seen_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => self.end_line(events),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > MAX_EVENT_BYTES {
                return Err(TooLarge);
            }
        }
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<String>) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            if !data.is_empty() {
                events.push(String::from_utf8_lossy(&data).into_owned());
            }
        } else if let Some(value) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
        // Other fields (event, id, retry) and comments carry nothing that we use.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_may_be_cut_anywhere() {
        let stream =
            "data: {\"a\":\"سلام\"}\r\n\r\n: keep-alive\n\ndata:one\ndata: two\n\nevent: x\ndata: [DONE]\n\n"
                .as_bytes();
        for size in 1..stream.len() {
            let (mut decoder, mut events) = (Decoder::default(), Vec::new());
            for piece in stream.chunks(size) {
                decoder.push(piece, &mut events).unwrap();
            }
            assert_eq!(events, ["{\"a\":\"سلام\"}", "one\ntwo", "[DONE]"], "pieces of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_not_collected() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(&vec![b'x'; MAX_EVENT_BYTES + 1], &mut Vec::new()), Err(TooLarge));
    }
}
