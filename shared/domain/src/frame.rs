//! What travels over the WebSocket.
//!
//! Offsets count characters (Unicode scalar values) of the answer's text from 0, so that a client in any language can
//! put deltas together: the text so far is always `offset` characters long when a delta arrives in order.

use crate::{
    chat::Citation,
    error::{Error, Result},
    ids::{AnswerId, DocumentId, SessionId},
    limits,
    usage::Usage,
};
use serde::{Deserialize, Serialize};

/// A frame from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// `{"message": "...", "session_id"?, "client_message_id"?}`
    Ask(Ask),
    /// `{"action": "ping"}`
    Ping,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The question, at most [`limits::MAX_QUESTION_CHARS`] characters.
    pub message: String,
    /// The conversation it belongs to; a new one when absent.
    #[serde(default)]
    pub session_id: Option<SessionId>,
    /// The client's own id of this message: sending it again gives no second answer. At most 64 characters.
    #[serde(default)]
    pub client_message_id: Option<String>,
    /// Only these documents, at most 50.
    #[serde(default)]
    pub documents: Option<Vec<DocumentId>>,
    /// Tolerated for clients that route by it: `message`.
    #[serde(default)]
    pub action: Option<String>,
}

impl Inbound {
    /// Reads a text frame and checks every bound.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > limits::MAX_FRAME_BYTES {
            return Err(Error::new(
                crate::Kind::TooLarge,
                "frame_too_large",
                "A frame may hold at most 32 KB; send shorter messages.",
            ));
        }
        let value: serde_json::Value = serde_json::from_str(text)
            .map_err(|e| Error::invalid("malformed_json", format!("The frame is not JSON: {e}.")))?;
        // A derived reader would take an array of the fields in their order as well.
        if !value.is_object() {
            return Err(Error::invalid("invalid_frame", "The frame is not a JSON object."));
        }
        let action = value.get("action").and_then(serde_json::Value::as_str);
        match action {
            Some("ping") => Ok(Self::Ping),
            None | Some("message") => {
                let ask: Ask = serde_json::from_value(value).map_err(|e| {
                    Error::invalid("invalid_frame", format!("The frame is not a message: {e}."))
                })?;
                ask.check().map(Self::Ask)
            }
            Some(other) => Err(Error::invalid("unknown_action", format!("There is no action {other:?}."))
                .with_path("action")),
        }
    }
}

impl Ask {
    fn check(mut self) -> Result<Self> {
        self.message = self.message.trim().to_owned();
        if self.message.is_empty() {
            return Err(Error::invalid("empty_message", "The message is empty.").with_path("message"));
        }
        if self.message.chars().count() > limits::MAX_QUESTION_CHARS {
            let detail = format!("A message may hold at most {} characters.", limits::MAX_QUESTION_CHARS);
            return Err(Error::invalid("message_too_long", detail).with_path("message"));
        }
        let id_ok = |id: &String| (1..=64).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic());
        if self.client_message_id.as_ref().is_some_and(|id| !id_ok(id)) {
            let detail = "client_message_id holds 1 to 64 printable ASCII characters.";
            return Err(Error::invalid("invalid_client_message_id", detail).with_path("client_message_id"));
        }
        if self.documents.as_ref().is_some_and(|list| list.is_empty() || list.len() > 50) {
            return Err(Error::invalid("invalid_documents", "Name 1 to 50 documents, or none at all.")
                .with_path("documents"));
        }
        Ok(self)
    }
}

/// A frame to the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outbound {
    /// The question was accepted.
    Start {
        /// The conversation, new or continued.
        session_id: SessionId,
        /// The answer that follows.
        answer_id: AnswerId,
        /// The client's own id of the question, if it gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_message_id: Option<String>,
    },
    /// The passages that the answer may cite.
    Sources {
        /// The answer.
        answer_id: AnswerId,
        /// One entry per passage.
        citations: Vec<Citation>,
    },
    /// More text.
    Delta {
        /// The answer.
        answer_id: AnswerId,
        /// Where the text belongs, in characters from the answer's beginning.
        offset: usize,
        /// The text.
        token: String,
    },
    /// The answer is whole.
    End {
        /// The conversation.
        session_id: SessionId,
        /// The answer.
        answer_id: AnswerId,
        /// What it used.
        usage: Usage,
        /// What it cites.
        citations: Vec<Citation>,
        /// The model that wrote it.
        model: String,
        /// Whether it is a refusal: nothing relevant was found, or the sources do not tell.
        refused: bool,
    },
    /// Something went wrong.
    Error {
        /// The answer that ends with it, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer_id: Option<AnswerId>,
        /// Stable code.
        code: String,
        /// A sentence for people.
        message: String,
        /// Whether the same message may succeed later.
        retryable: bool,
        /// The client's own id of the question, if it gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_message_id: Option<String>,
    },
    /// The answer to a ping.
    Pong,
    /// A document of this person moved on.
    Document {
        /// The document.
        document_id: DocumentId,
        /// Its status.
        status: crate::document::Status,
        /// Progress from 0 to 100.
        percent: u8,
        /// Why it failed, as a stable code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error_code: Option<String>,
    },
}

impl Outbound {
    /// The error frame of an error, without its source.
    #[must_use]
    pub fn error(error: &Error, answer_id: Option<AnswerId>, client_message_id: Option<String>) -> Self {
        Self::Error {
            answer_id,
            code: error.code().into(),
            message: error.detail().into(),
            retryable: error.kind().is_transient(),
            client_message_id,
        }
    }

    /// The frame as JSON of at most [`limits::MAX_FRAME_BYTES`]. Only quotes can make one larger (deltas are cut
    /// before), so these are shortened from the last one on until it fits.
    #[must_use]
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        if text.len() <= limits::MAX_FRAME_BYTES {
            return text;
        }
        let mut smaller = self.clone();
        for quote_chars in [400, 120, 0] {
            if let Self::Sources { citations, .. } | Self::End { citations, .. } = &mut smaller {
                for citation in citations.iter_mut() {
                    citation.quote = citation.quote.chars().take(quote_chars).collect();
                }
            }
            let text = serde_json::to_string(&smaller).unwrap_or_default();
            if text.len() <= limits::MAX_FRAME_BYTES {
                return text;
            }
        }
        serde_json::to_string(&smaller).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        Inbound::parse(text).unwrap_err().code()
    }

    #[test]
    fn a_question() {
        let Inbound::Ask(ask) = Inbound::parse(r#"{"message":"  سلام  ","client_message_id":"m-1"}"#).unwrap()
        else {
            panic!("not a question")
        };
        assert_eq!((ask.message.as_str(), ask.client_message_id.as_deref()), ("سلام", Some("m-1")));
        assert_eq!(Inbound::parse(r#"{"action":"ping"}"#).unwrap(), Inbound::Ping);
    }

    #[test]
    fn bad_frames_have_codes() {
        assert_eq!(code("{"), "malformed_json");
        assert_eq!(code("[]"), "invalid_frame");
        assert_eq!(code(r#"["a question"]"#), "invalid_frame");
        assert_eq!(code(r#"{"message":" "}"#), "empty_message");
        assert_eq!(code(r#"{"message":1}"#), "invalid_frame");
        assert_eq!(code(r#"{"message":"a","session_id":"x"}"#), "invalid_frame");
        assert_eq!(code(r#"{"message":"a","client_message_id":""}"#), "invalid_client_message_id");
        assert_eq!(code(r#"{"action":"dance"}"#), "unknown_action");
        assert_eq!(code(&format!(r#"{{"message":"{}"}}"#, "x".repeat(8001))), "message_too_long");
        assert_eq!(code(&format!(r#"{{"message":"{}"}}"#, "x".repeat(33_000))), "frame_too_large");
    }

    #[test]
    fn no_frame_is_larger_than_the_gateway_takes() {
        let citation = Citation {
            n: 1,
            document_id: "0199aaaa-0000-7000-8000-000000000001".parse().unwrap(),
            title: "t".repeat(200),
            page: 1,
            page_end: 1,
            chunk: 0,
            quote: "گ".repeat(9000),
            similarity: 0.9,
        };
        let frame = Outbound::Sources {
            answer_id: "0199aaaa-0000-7000-8000-000000000002".parse().unwrap(),
            citations: vec![citation; 6],
        };
        let text = frame.to_json();
        assert!(text.len() <= limits::MAX_FRAME_BYTES);
        assert!(matches!(serde_json::from_str(&text).unwrap(), Outbound::Sources { .. }));
    }
}
