//! A file inside a `multipart/form-data` request (RFC 7578).

use bytes::Bytes;
use docuchat_domain::{Error, Kind, Result, limits};
use docuchat_kit::rest::Call;
use futures_util::stream;
use multer::{Field, Multipart};
use std::convert::Infallible;

/// What the form held.
#[derive(Debug, PartialEq, Eq)]
pub struct Upload {
    /// The name of the file.
    pub file_name: String,
    /// The media type of its part, empty if it named none.
    pub content_type: String,
    /// The field `title`.
    pub title: Option<String>,
    /// The file, at most [`limits::MAX_INLINE_FILE_BYTES`].
    pub bytes: Bytes,
}

/// Reads the form of a request: exactly one `file`, at most one `title`; other fields are passed over.
pub async fn read(call: &Call) -> Result<Upload> {
    parse(call.header("content-type").unwrap_or_default(), Bytes::copy_from_slice(&call.body)).await
}

async fn parse(content_type: &str, body: Bytes) -> Result<Upload> {
    let boundary = multer::parse_boundary(content_type).map_err(malformed)?;
    let mut form = Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
    let (mut title, mut file) = (None, None);
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        match field.name() {
            Some("title") => title = Some(field.text().await.map_err(malformed)?),
            Some("file") if file.is_some() => {
                let detail = "Send one file per request.";
                return Err(Error::invalid("malformed_multipart", detail).with_path("file"));
            }
            Some("file") => file = Some(read_file(field).await?),
            _ => {}
        }
    }
    let (file_name, content_type, bytes) = file.ok_or_else(|| {
        Error::invalid("missing_file", "The form needs a field named file with a file name.")
            .with_path("file")
    })?;
    Ok(Upload { file_name, content_type, title, bytes })
}

async fn read_file(field: Field<'_>) -> Result<(String, String, Bytes)> {
    let file_name = field.file_name().unwrap_or_default().to_owned();
    let content_type = field.content_type().map(ToString::to_string).unwrap_or_default();
    let bytes = field.bytes().await.map_err(malformed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limits::MAX_INLINE_FILE_BYTES {
        let detail = format!(
            "A form may hold a file of at most {} MB. For more, send JSON with filename, size and content_type to this \
             route and post the file to the address in the answer.",
            limits::MAX_INLINE_FILE_BYTES / (1024 * 1024)
        );
        return Err(Error::new(Kind::TooLarge, "file_too_large", detail).with_path("file"));
    }
    Ok((file_name, content_type, bytes))
}

fn malformed(error: multer::Error) -> Error {
    Error::invalid("malformed_multipart", "The body is not a complete multipart/form-data form.")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=XX";

    fn part(head: &str, body: &str) -> String {
        format!("--XX\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n")
    }

    async fn read(content_type: &str, parts: &[String], end: &str) -> Result<Upload> {
        parse(content_type, Bytes::from(format!("{}{end}", parts.concat()))).await
    }

    #[tokio::test]
    async fn a_file_with_a_title() {
        let file =
            part("name=\"file\"; filename=\"گزارش سال.txt\"\r\nContent-Type: text/plain", "سلام\r\nدنیا");
        let parts = [part("name=\"title\"", "عنوان"), part("name=\"other\"", "x"), file];
        let expected = Upload {
            file_name: "گزارش سال.txt".to_owned(),
            content_type: "text/plain".to_owned(),
            title: Some("عنوان".to_owned()),
            bytes: Bytes::from("سلام\r\nدنیا"),
        };
        assert_eq!(read(TYPE, &parts, "--XX--\r\n").await.unwrap(), expected);
    }

    #[tokio::test]
    async fn bad_forms_have_codes() {
        let file = part("name=\"file\"; filename=\"a.txt\"", "x");
        let code =
            async |kind: &str, parts: &[String], end: &str| read(kind, parts, end).await.unwrap_err().code();
        assert_eq!(
            code("multipart/form-data", std::slice::from_ref(&file), "--XX--").await,
            "malformed_multipart"
        );
        assert_eq!(code(TYPE, std::slice::from_ref(&file), "").await, "malformed_multipart");
        assert_eq!(code(TYPE, &[], "").await, "malformed_multipart");
        assert_eq!(code(TYPE, &[part("name=\"title\"", "x")], "--XX--").await, "missing_file");
        assert_eq!(code(TYPE, &[file.clone(), file], "--XX--").await, "malformed_multipart");
        let large = part("name=\"file\"; filename=\"a.txt\"", &"x".repeat(4 * 1024 * 1024 + 1));
        let error = read(TYPE, &[large], "--XX--").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (Kind::TooLarge, "file_too_large"));
        assert!(error.detail().contains("JSON"), "{}", error.detail());
    }
}
