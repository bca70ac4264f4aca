//! Files for tests, made in code: good ones, broken ones and bad ones. Never part of a function (dev-dependency only).

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a fixture that cannot be made is a defect of the test"
)]

use lopdf::{
    Document, EncryptionState, EncryptionVersion, Object, Permissions, Stream,
    content::{Content, Operation},
    dictionary,
};

/// A PDF with one page per text, in Helvetica. Texts are split at line ends; only Latin-1 shows.
#[must_use]
pub fn pdf(pages: &[&str]) -> Vec<u8> {
    save(&mut document(pages))
}

/// A PDF that can only be read with a password.
#[must_use]
pub fn encrypted_pdf() -> Vec<u8> {
    let mut document = document(&["A secret that nobody reads without the password."]);
    document.trailer.set("ID", vec![Object::string_literal("docuchat"), Object::string_literal("docuchat")]);
    let version = EncryptionVersion::V2 {
        document: &document,
        owner_password: "owner",
        user_password: "user",
        key_length: 128,
        permissions: Permissions::all(),
    };
    let state = EncryptionState::try_from(version).expect("the encryption is set up");
    document.encrypt(&state).expect("the document is encrypted");
    save(&mut document)
}

/// A PDF whose only page is a picture, as a scanner makes it.
#[must_use]
pub fn scanned_pdf() -> Vec<u8> {
    let mut document = Document::with_version("1.5");
    let image = Stream::new(
        dictionary! {
            "Type" => "XObject", "Subtype" => "Image", "Width" => 2, "Height" => 2,
            "ColorSpace" => "DeviceGray", "BitsPerComponent" => 8,
        },
        vec![0, 255, 255, 0],
    );
    let image = document.add_object(image);
    let content = Content {
        operations: vec![
            Operation::new("cm", vec![600.into(), 0.into(), 0.into(), 800.into(), 0.into(), 0.into()]),
            Operation::new("Do", vec!["Scan".into()]),
        ],
    };
    let resources = document.add_object(dictionary! { "XObject" => dictionary! { "Scan" => image } });
    add_pages(&mut document, vec![content], resources);
    save(&mut document)
}

/// The first half of a PDF, as a broken download leaves it, with its page tree in the missing half.
#[must_use]
pub fn truncated_pdf() -> Vec<u8> {
    let mut bytes = pdf(&["The end of this file is missing."]);
    bytes.truncate(120);
    bytes
}

/// A PDF of exactly this many bytes: good in itself, filled up with a comment.
#[must_use]
pub fn padded_pdf(size: usize) -> Vec<u8> {
    let mut bytes = pdf(&["A large file."]);
    bytes.push(b'\n');
    bytes.push(b'%');
    bytes.resize(size, b'x');
    bytes
}

/// A PDF of this many pages with a sentence each.
#[must_use]
pub fn pdf_of_pages(count: usize) -> Vec<u8> {
    let texts: Vec<String> = (1..=count)
        .map(|n| format!("This is page {n}. The number of the page is {n}, nothing else."))
        .collect();
    pdf(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

fn document(pages: &[&str]) -> Document {
    let mut document = Document::with_version("1.5");
    let font = document.add_object(dictionary! {
        "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding",
    });
    let resources = document.add_object(dictionary! { "Font" => dictionary! { "F1" => font } });
    let contents = pages.iter().map(|text| text_page(text)).collect();
    add_pages(&mut document, contents, resources);
    document
}

fn text_page(text: &str) -> Content<Vec<Operation>> {
    let mut operations = vec![
        Operation::new("BT", vec![]),
        Operation::new("Tf", vec!["F1".into(), 11.into()]),
        Operation::new("TL", vec![14.into()]),
        Operation::new("Td", vec![60.into(), 760.into()]),
    ];
    for line in text.lines() {
        let latin1: Vec<u8> = line.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
        operations.push(Operation::new("Tj", vec![Object::string_literal(latin1)]));
        operations.push(Operation::new("T*", vec![]));
    }
    operations.push(Operation::new("ET", vec![]));
    Content { operations }
}

fn add_pages(document: &mut Document, contents: Vec<Content<Vec<Operation>>>, resources: lopdf::ObjectId) {
    let tree = document.new_object_id();
    let kids: Vec<Object> = contents
        .into_iter()
        .map(|content| {
            let bytes = content.encode().expect("the content is encoded");
            let stream = document.add_object(Stream::new(dictionary! {}, bytes));
            document
                .add_object(dictionary! { "Type" => "Page", "Parent" => tree, "Contents" => stream })
                .into()
        })
        .collect();
    let count = i64::try_from(kids.len()).expect("pages are counted in i64");
    document.set_object(
        tree,
        dictionary! {
            "Type" => "Pages", "Kids" => kids, "Count" => count, "Resources" => resources,
            "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()],
        },
    );
    let catalog = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => tree });
    document.trailer.set("Root", catalog);
}

fn save(document: &mut Document) -> Vec<u8> {
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).expect("the document is written");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixtures_are_what_they_say() {
        assert_eq!(Document::load_mem(&pdf(&["a", "b"])).unwrap().get_pages().len(), 2);
        assert!(Document::load_mem(&encrypted_pdf()).unwrap().get_pages().is_empty());
        assert_eq!(Document::load_mem(&pdf_of_pages(501)).unwrap().get_pages().len(), 501);
        assert_eq!(padded_pdf(26 << 20).len(), 26 << 20);
        assert_eq!(Document::load_mem(&padded_pdf(1 << 20)).unwrap().get_pages().len(), 1);
    }
}
