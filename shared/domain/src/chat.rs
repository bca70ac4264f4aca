//! Sessions, answers and citations.

use crate::{
    ids::{AnswerId, DocumentId, SessionId, TenantId, UserId},
    usage::Usage,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A conversation of one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The person.
    pub user_id: UserId,
    /// Its id.
    pub session_id: SessionId,
    /// The beginning of the first question.
    pub title: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last asked something.
    pub updated_at: Timestamp,
    /// Questions asked in it.
    pub answers: u32,
}

/// Where an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerStatus {
    /// Accepted, not taken up.
    Pending,
    /// A worker writes it.
    Running,
    /// Whole.
    Complete,
    /// Ended early; `error_code` says why, the text so far is kept.
    Failed,
}

/// One question and the answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Who asked.
    pub user_id: UserId,
    /// The conversation.
    pub session_id: SessionId,
    /// Its id.
    pub answer_id: AnswerId,
    /// What was asked.
    pub question: String,
    /// The answer so far.
    #[serde(default)]
    pub text: String,
    /// Where it stands.
    pub status: AnswerStatus,
    /// Whether it is a refusal: nothing relevant was found and no model was called, or the model found no answer in the
    /// sources (it cites none).
    #[serde(default)]
    pub refused: bool,
    /// What it cites.
    #[serde(default)]
    pub citations: Vec<Citation>,
    /// The model that wrote it.
    #[serde(default)]
    pub model: String,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
    /// Why it failed, as a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// How often a worker took it up.
    #[serde(default)]
    pub attempt: u32,
    /// The connection that hears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<String>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When the row last changed: a running answer changes at least every [`HEARTBEAT`].
    pub updated_at: Timestamp,
}

/// How often a worker saves a running answer.
pub const HEARTBEAT: SignedDuration = SignedDuration::from_secs(1);

/// After how long without a save a worker counts as dead.
pub const INTERRUPTED_AFTER: SignedDuration = SignedDuration::from_secs(60);

impl Answer {
    /// The answer as readers should see it: one whose worker died is failed, with the code `interrupted`, although
    /// nobody was left to write that down.
    #[must_use]
    pub fn as_seen_at(mut self, now: Timestamp) -> Self {
        let open = matches!(self.status, AnswerStatus::Pending | AnswerStatus::Running);
        if open && now.duration_since(self.updated_at) > INTERRUPTED_AFTER {
            self.status = AnswerStatus::Failed;
            self.error_code = Some("interrupted".into());
        }
        self
    }
}

/// A place in a document that an answer rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Citation {
    /// The number in the text, as in `[1]`.
    pub n: u32,
    /// The document.
    pub document_id: DocumentId,
    /// The document's title.
    pub title: String,
    /// First page of the passage, from 1.
    pub page: u32,
    /// Last page of the passage.
    pub page_end: u32,
    /// Position of the chunk within the document, from 0.
    pub chunk: u32,
    /// Copied verbatim from the chunk.
    pub quote: String,
    /// Cosine similarity of the passage to the question.
    pub similarity: f64,
}

/// The title of a session that begins with this question: its first 80 characters, at a word's end where possible.
#[must_use]
pub fn title_from(question: &str) -> String {
    const LIMIT: usize = 80;
    let line = question.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LIMIT {
        return line;
    }
    let cut: String = line.chars().take(LIMIT).collect();
    let at_word = cut.rsplit_once(' ').map_or(cut.as_str(), |(head, _)| head);
    format!("{at_word}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_end_at_a_word() {
        assert_eq!(title_from("  What is\n the notice period? "), "What is the notice period?");
        let title = title_from(&"سلام دنیا ".repeat(20));
        assert!(title.chars().count() <= 81 && title.ends_with("دنیا…"), "{title}");
        assert_eq!(title_from(&"x".repeat(200)).chars().count(), 81);
    }
}
