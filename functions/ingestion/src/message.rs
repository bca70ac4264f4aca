//! What a message on the ingest queue asks for.

use docuchat_domain::ingestion::Job;
use serde::Deserialize;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Objects with these keys were put into the bucket.
    Objects(Vec<String>),
    /// Work that one of our functions ordered.
    Job(Job),
    /// S3's greeting to a queue that was just connected.
    Test,
}

/// S3's notification
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>), as far as it is read.
#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_name: String,
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

#[derive(Deserialize)]
struct Greeting {
    #[serde(rename = "Event")]
    event: String,
}

/// Reads a message's body. `None` if it is nothing that we know: no retry can change that.
#[must_use]
pub fn parse(body: &str) -> Option<Message> {
    if let Ok(job) = serde_json::from_str(body) {
        return Some(Message::Job(job));
    }
    if let Ok(Notification { records }) = serde_json::from_str(body) {
        let created = records.into_iter().filter(|record| {
            // `s3:ObjectCreated:Put` in some emulators.
            record.event_name.trim_start_matches("s3:").starts_with("ObjectCreated:")
        });
        return Some(Message::Objects(created.map(|record| decode_key(&record.s3.object.key)).collect()));
    }
    let greeting: Greeting = serde_json::from_str(body).ok()?;
    (greeting.event == "s3:TestEvent").then_some(Message::Test)
}

/// The key as it was put: S3 encodes keys in events like a form, blanks as `+`. What is no such encoding stays as it
/// is and then names no document.
fn decode_key(encoded: &str) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits =
                    [rest.next(), rest.next()].map(|digit| digit.and_then(|d| char::from(d).to_digit(16)));
                let [Some(high), Some(low)] = digits else { return encoded.to_owned() };
                // Two hexadecimal digits always fit.
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| encoded.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"eu-central-1",
        "eventTime":"2026-01-01T00:00:00.000Z","eventName":"ObjectCreated:Post",
        "userIdentity":{"principalId":"AWS:AROA"},"requestParameters":{"sourceIPAddress":"203.0.113.9"},
        "responseElements":{"x-amz-request-id":"1"},
        "s3":{"s3SchemaVersion":"1.0","configurationId":"c","bucket":{"name":"docs","arn":"arn:aws:s3:::docs"},
        "object":{"key":"uploads/d0c0c4a7-0000-4000-8000-000000000001/0199aaaa-0000-7000-8000-000000000001/%DA%AF%D8%B2%D8%A7%D8%B1%D8%B4+%DB%B1%2B1.pdf",
        "size":1024,"eTag":"d41d","sequencer":"0055AED6DCD90281E5"}}}]}"#;

    #[test]
    fn an_event_with_a_persian_key() {
        let key =
            "uploads/d0c0c4a7-0000-4000-8000-000000000001/0199aaaa-0000-7000-8000-000000000001/گزارش ۱+1.pdf";
        assert_eq!(parse(EVENT), Some(Message::Objects(vec![key.to_owned()])));
    }

    #[test]
    fn a_test_event_and_a_removal_ask_for_nothing() {
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-01-01T00:00:00.000Z","Bucket":"docs",
            "RequestId":"5582815E1AEA5ADF","HostId":"8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR"}"#;
        assert_eq!(parse(test), Some(Message::Test));
        let removal = EVENT.replace("ObjectCreated:Post", "ObjectRemoved:Delete");
        assert_eq!(parse(&removal), Some(Message::Objects(Vec::new())));
    }

    #[test]
    fn jobs() {
        let job = Job::Erase {
            tenant_id: "d0c0c4a7-0000-4000-8000-000000000001".parse().unwrap(),
            document_id: "0199aaaa-0000-7000-8000-000000000001".parse().unwrap(),
        };
        assert_eq!(parse(&serde_json::to_string(&job).unwrap()), Some(Message::Job(job)));
    }

    #[test]
    fn anything_else_is_unknown() {
        for body in ["", "x", "[]", "{}", r#"{"Records":1}"#, r#"{"job":"dance"}"#, r#"{"Event":"s3:Other"}"#]
        {
            assert_eq!(parse(body), None, "{body}");
        }
    }

    #[test]
    fn a_broken_encoding_stays_as_it_is() {
        for key in ["a%", "a%2", "a%zz", "%FF"] {
            assert_eq!(decode_key(key), key);
        }
        assert_eq!(decode_key("a%2fb+c"), "a/b c");
    }
}
