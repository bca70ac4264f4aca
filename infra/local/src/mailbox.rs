//! Mail that the emulator accepted, as JSON and as a page.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// Addresses of the recipients.
    pub to: Vec<String>,
    /// Subject.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// Time of acceptance (RFC 3339).
    pub received_at: String,
}

/// What the emulator answers: messages by account.
#[derive(Deserialize)]
struct Answer {
    messages: BTreeMap<String, Vec<Message>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(default)]
    to: Vec<String>,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    body_text: Option<String>,
    #[serde(default)]
    timestamp: serde_json::Value,
}

/// All messages, newest first.
pub(crate) async fn fetch(emulator_url: &str) -> Result<Vec<Mail>> {
    let failed = || "The AWS emulator does not show its mail";
    let answer: Answer = crate::http::client()?
        .get(format!("{emulator_url}/_ministack/ses/messages"))
        .send()
        .await
        .context(failed)?
        .json()
        .await
        .context(failed)?;
    Ok(newest_first(answer))
}

fn newest_first(answer: Answer) -> Vec<Mail> {
    let mut mails: Vec<Mail> = answer
        .messages
        .into_values()
        .flatten()
        .map(|message| Mail {
            to: message.to,
            subject: message.subject.unwrap_or_default(),
            text: message.body_text.unwrap_or_default(),
            received_at: message
                .timestamp
                .as_f64()
                .and_then(|seconds| {
                    let time = jiff::Timestamp::UNIX_EPOCH
                        .checked_add(jiff::SignedDuration::try_from_secs_f64(seconds).ok()?);
                    time.ok()?.round(jiff::Unit::Millisecond).ok()
                })
                .unwrap_or_default()
                .to_string(),
        })
        .collect();
    // The emulator appends; a stable sort keeps that order within one second, and turning it round puts the newest first.
    mails.sort_by(|a, b| a.received_at.cmp(&b.received_at));
    mails.reverse();
    mails
}

/// The page of messages.
pub(crate) fn html(mails: &[Mail]) -> String {
    let list = mails
        .iter()
        .map(|mail| {
            format!(
                "<article><p class=\"head\"><b>{}</b><span>{}</span></p><p class=\"to\">to {}</p><pre dir=\"auto\">{}</pre></article>\n",
                escape(&mail.subject),
                escape(&mail.received_at),
                escape(&mail.to.join(", ")),
                escape(&mail.text)
            )
        })
        .collect::<Vec<_>>()
        .concat();
    let list = if list.is_empty() {
        "<p>No mail yet. Ask for a code, then reload this page.</p>".to_owned()
    } else {
        list
    };
    page("Mailbox", &list)
}

/// A page of the front door.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;color:#222}}\
         article{{border:1px solid #ddd;border-radius:6px;padding:.2rem 1rem;margin:1rem 0}}\
         .head{{display:flex;justify-content:space-between;gap:1rem}}.head span,.to{{color:#666}}\
         pre{{white-space:pre-wrap;font:inherit}}th{{text-align:left;padding-right:1rem;vertical-align:top}}\
         td{{overflow-wrap:anywhere}}</style></head>\n<body><h1>{title}</h1>\n{body}\n\
         <p><a href=\"/_local/\">All addresses</a> · <a href=\"/_local/mail\">Mailbox</a></p></body></html>\n"
    )
}

/// Text as HTML text or as the value of a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, letter| {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_first() {
        let text = r#"{"messages":{"000000000000":[
            {"To":["a@x.example"],"Subject":"one","BodyText":"1","Timestamp":1795256635.625815},
            {"To":["a@x.example"],"Subject":"two","BodyText":"2","Timestamp":1795256635.625815},
            {"To":["b@x.example"],"Subject":"three","BodyText":null,"Timestamp":1795256600}]}}"#;
        let mails = newest_first(serde_json::from_str(text).unwrap());
        let subjects: Vec<_> = mails.iter().map(|mail| mail.subject.as_str()).collect();
        assert_eq!(subjects, ["two", "one", "three"]);
        assert_eq!(mails[0].received_at, "2026-11-21T10:23:55.626Z");
    }

    #[test]
    fn what_a_mail_says_is_shown_and_not_run() {
        let mail = Mail {
            to: vec!["<a>".into()],
            subject: "\"x\" & 'y'".into(),
            text: "<script>alert(1)</script>".into(),
            received_at: "now".into(),
        };
        let page = html(&[mail]);
        assert!(
            !page.contains("<script>")
                && page.contains("&lt;script&gt;")
                && page.contains("&quot;x&quot; &amp;")
        );
    }
}
