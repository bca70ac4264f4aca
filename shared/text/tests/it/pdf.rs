//! What the PDF text layer makes of files that writers do make.

use std::fmt::Write as _;

use crate::support::{HELVETICA, Pdf, hex, text_lines};
use docuchat_text::{Document, Format, Limits, TextError, extract, pages};

fn read(pdf: &Pdf) -> Document {
    extract(&pdf.bytes(), Format::Pdf, &Limits::default()).expect("readable")
}

fn page(resources: &str, content: &str) -> String {
    let mut pdf = Pdf::new();
    pdf.page(resources, content);
    read(&pdf).pages[0].text.clone()
}

/// A composite font with a `/ToUnicode` map, as Persian writers make them: codes 1.. are the letters of `letters`.
fn composite(pdf: &mut Pdf, number: u32, letters: &str) {
    let mut map = "1 begincodespacerange <0000> <ffff> endcodespacerange\n".to_owned();
    for (code, letter) in letters.chars().enumerate() {
        let mut units = [0; 2];
        let units = hex(letter.encode_utf16(&mut units).iter(), 4);
        let _ = writeln!(map, "1 beginbfchar <{:04x}> <{units}> endbfchar", code + 1);
    }
    pdf.object(
        number,
        format!("<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/Identity-H/DescendantFonts[{0} 0 R]/ToUnicode {1} 0 R>>", number + 1, number + 2),
    );
    pdf.object(number + 1, "<</Type/Font/Subtype/CIDFontType2/BaseFont/X/DW 500>>");
    pdf.flate(number + 2, "", map.as_bytes(), 1);
}

/// The codes of a text drawn from left to right as it looks: letters reversed.
fn visual(letters: &str, text: &str) -> String {
    let code = |letter| letters.chars().position(|known| known == letter).expect("a letter of the font") + 1;
    hex(text.chars().rev().map(code), 4)
}

#[test]
fn lines_of_a_paragraph_are_joined() {
    let text = page(
        HELVETICA,
        &text_lines(&[
            "A paragraph of several lines that goes on and hyphen-",
            "ates a word, then ends with a caf\\351.",
            "",
            "",
            "Next one.",
        ]),
    );
    assert_eq!(
        text,
        "A paragraph of several lines that goes on and hyphenates a word, then ends with a café.\n\nNext one."
    );
}

#[test]
fn gaps_make_words_and_kerning_does_not() {
    let text = page(HELVETICA, "BT /F1 12 Tf 72 700 Td [(W)80(o)-20(rds)-400(apart)] TJ 85 0 Td (far) Tj ET");
    assert_eq!(text, "Words apart far");
    let tracked = page(HELVETICA, "BT /F1 12 Tf 4 Tc 72 700 Td (TRACKED) Tj ( ) Tj (HEADING) Tj ET");
    assert_eq!(tracked, "TRACKED HEADING");
}

#[test]
fn every_text_operator_counts() {
    let content = "q 1 0 0 1 72 700 cm BT /F1 10 Tf 12 TL 0 0 Td (one) Tj T* (two) Tj (three) ' 1 2 (four) \" 0 Tw 0 Tc 0 -12 TD (five) Tj T* (six) Tj ET Q
        BT /F1 10 Tf 2 0 0 2 72 500 Tm 50 Tz (big ) Tj 100 Tz 2 Ts (up) Tj ET";
    let text = page(HELVETICA, content);
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["one", "two", "three", "four", "five", "six", "big", "up"]
    );
}

#[test]
fn encodings_and_glyph_names() {
    let fonts = "/Font<</F1<</Type/Font/Subtype/Type1/BaseFont/X/Encoding<</Differences[65/fi/uni06A9/Lslash/.notdef/a_b/g3]>>>>
        /F2<</Type/Font/Subtype/Type1/BaseFont/Symbol>>
        /F3<</Type/Font/Subtype/TrueType/BaseFont/Arial/Encoding/MacRomanEncoding>>>>";
    let text = page(
        fonts,
        "BT /F1 12 Tf 72 700 Td (AC) Tj 0 -30 Td (E) Tj /F2 12 Tf 0 -30 Td (abg) Tj /F3 12 Tf 0 -30 Td (\\212\\237) Tj ET",
    );
    assert_eq!(text, "fiŁ\n\nab\n\nαβγ\n\näü");
}

#[test]
fn persian_comes_out_in_logical_order() {
    let letters = "سلام دنیا۱۴۰۳/Helo()\u{200C}ی";
    let mut pdf = Pdf::new();
    composite(&mut pdf, 10, letters);
    // As drawn: the first word at the right, the number and the Latin word from left to right.
    let content = format!(
        "BT /F1 12 Tf 1 0 0 1 72 700 Tm <{}> Tj <{}> Tj <{}> Tj ET",
        visual(letters, " دنیا"),
        visual(letters, "۳۰۴۱"),
        visual(letters, "سلام ")
    );
    pdf.page("/Font<</F1 10 0 R>>", &content);
    assert_eq!(read(&pdf).pages[0].text, "سلام ۱۴۰۳ دنیا");
    let mut pdf = Pdf::new();
    composite(&mut pdf, 10, letters);
    let content = format!(
        "BT /F1 12 Tf 1 0 0 1 72 700 Tm <{}> Tj <{}> Tj <{}> Tj ET",
        visual(letters, " دنیا"),
        visual(letters, "olleH"),
        visual(letters, "سلام ")
    );
    pdf.page("/Font<</F1 10 0 R>>", &content);
    assert_eq!(read(&pdf).pages[0].text, "سلام Hello دنیا");
}

#[test]
fn actual_text_replaces_its_glyphs() {
    let content = "BT /F1 12 Tf 72 700 Td (an ) Tj /Span<</ActualText<FEFF0066006600690063006500>>>BDC (o) Tj (+) Tj EMC ( and ) Tj
        /Span<</ActualText(real)>>BDC /Span<</ActualText(inner)>>BDC (fake) Tj EMC EMC ET";
    assert_eq!(page(HELVETICA, content), "an ffice and real");
}

#[test]
fn forms_and_annotations_are_read() {
    let mut pdf = Pdf::new();
    pdf.page(&format!("{HELVETICA}/XObject<</X 20 0 R>>"), "q 1 0 0 1 0 100 cm /X Do Q");
    pdf.stream(
        20,
        &format!("/Subtype/Form/Matrix[1 0 0 1 10 0]/Resources<<{HELVETICA}>>"),
        b"BT /F1 12 Tf 72 500 Td (in a form) Tj ET",
    );
    pdf.object(3, "<</Type/Page/Parent 2 0 R/Contents 4 0 R/Annots[30 0 R 31 0 R 32 0 R]>>");
    pdf.object(30, "<</Subtype/FreeText/Rect[72 400 272 420]/AP<</N 40 0 R>>>>");
    pdf.object(31, "<</Subtype/Widget/Rect[72 300 272 320]/AS/On/AP<</N<</On 40 0 R/Off 41 0 R>>>>>>");
    pdf.object(32, "<</Subtype/FreeText/F 2/Rect[72 200 272 220]/AP<</N 41 0 R>>>>");
    pdf.stream(
        40,
        &format!("/Subtype/Form/BBox[0 0 200 20]/Resources<<{HELVETICA}>>"),
        b"BT /F1 12 Tf 5 5 Td (shown) Tj ET",
    );
    pdf.stream(
        41,
        &format!("/Subtype/Form/BBox[0 0 200 20]/Resources<<{HELVETICA}>>"),
        b"BT /F1 12 Tf 5 5 Td (hidden) Tj ET",
    );
    assert_eq!(read(&pdf).pages[0].text, "in a form\n\nshown\n\nshown");
}

#[test]
fn columns_are_read_one_after_the_other_and_tables_by_rows() {
    let mut content = String::from("BT /F1 10 Tf");
    for row in 0..12 {
        let y = 600 - row * 12;
        let _ = write!(
            content,
            " 1 0 0 1 72 {y} Tm (left column line {row:02} with words) Tj 1 0 0 1 320 {y} Tm (right column line {row:02} with words) Tj"
        );
    }
    let text = page(
        HELVETICA,
        &(content
            + " 1 0 0 1 72 640 Tm (A title across both of the columns, which is wide enough to cross) Tj ET"),
    );
    let left = text.find("left column line 11").expect("left");
    let right = text.find("right column line 00").expect("right");
    assert!(text.starts_with("A title") && left < right, "{text}");

    let mut table = String::from("BT /F1 10 Tf");
    for row in 0..6 {
        let y = 600 - row * 14;
        let _ = write!(
            table,
            " 1 0 0 1 72 {y} Tm (Item {row}) Tj 1 0 0 1 250 {y} Tm ({row}00) Tj 1 0 0 1 400 {y} Tm (piece) Tj"
        );
    }
    let text = page(HELVETICA, &(table + " ET"));
    assert!(text.starts_with("Item 0\t000\tpiece\nItem 1\t100\tpiece\n"), "{text}");
}

#[test]
fn rotated_pages_are_read_upright() {
    for (rotate, matrix) in [
        (90, "0 1 -1 0 300 72"),
        (180, "-1 0 0 -1 500 300"),
        (270, "0 -1 1 0 300 700"),
        (0, "0 1 -1 0 300 72"),
    ] {
        let mut pdf = Pdf::new();
        pdf.page(
            HELVETICA,
            &format!("BT /F1 12 Tf 14 TL {matrix} Tm (first line) Tj T* (second line) Tj ET"),
        );
        pdf.object(3, format!("<</Type/Page/Parent 2 0 R/Contents 4 0 R/Rotate {rotate}>>"));
        assert_eq!(read(&pdf).pages[0].text, "first line second line", "{rotate}");
    }
}

#[test]
fn headers_and_footers_go() {
    let names = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
    let contents: Vec<String> = (1..)
        .zip(names)
        .map(|(number, name)| format!("BT /F1 10 Tf 72 760 Td (The Annual Report) Tj 0 -200 Td (Body {name}.) Tj 0 -520 Td (Page {number} of 6) Tj ET"))
        .collect();
    let mut pdf = Pdf::new();
    pdf.pages(10, HELVETICA, &contents);
    let document = read(&pdf);
    for (page, name) in document.pages.iter().zip(names) {
        assert_eq!(page.text, format!("Body {name}."));
    }
    // The iterator sees one page at a time and keeps them.
    let bytes = pdf.bytes();
    let limits = Limits::default();
    let first =
        pages(&bytes, Format::Pdf, &limits).expect("opens").next().expect("a page").expect("readable");
    assert!(first.text.contains("The Annual Report"));
}

#[test]
fn scans_and_mixed_documents() {
    let mut pdf = Pdf::new();
    pdf.page("/XObject<</I 20 0 R>>", "q 600 0 0 800 0 0 cm /I Do Q");
    pdf.stream(20, "/Subtype/Image/Width 1/Height 1/BitsPerComponent 8/ColorSpace/DeviceGray", b"\0");
    assert_eq!(extract(&pdf.bytes(), Format::Pdf, &Limits::default()), Err(TextError::NoText));
    let mut pdf = Pdf::new();
    pdf.pages(10, HELVETICA, &[text_lines(&["text"]), "0 0 m 10 10 l S".to_owned()]);
    let document = read(&pdf);
    let flags: Vec<(u32, bool)> = document.pages.iter().map(|page| (page.number, page.has_text)).collect();
    assert_eq!(flags, [(1, true), (2, false)]);
}

#[test]
fn titles_are_read() {
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, &text_lines(&["text"]))
        .object(50, "<</Title<FEFF06A9062A06270628>>>")
        .trailer("/Info 50 0 R");
    assert_eq!(read(&pdf).title.as_deref(), Some("کتاب"));
}

#[test]
fn predefined_maps_and_vertical_writing() {
    let (text, _, _) = encoding_rs::SHIFT_JIS.encode("縦書きの文");
    let codes = hex(text.iter(), 2);
    for encoding in ["90ms-RKSJ-H", "90ms-RKSJ-V"] {
        let fonts = format!(
            "/Font<</F1<</Type/Font/Subtype/Type0/BaseFont/Ryumin/Encoding/{encoding}/DescendantFonts[<</Subtype/CIDFontType0/BaseFont/Ryumin/CIDSystemInfo<</Registry(Adobe)/Ordering(Japan1)/Supplement 2>>>>]>>>>"
        );
        assert_eq!(
            page(&fonts, &format!("BT /F1 12 Tf 300 700 Td <{codes}> Tj ET")),
            "縦書きの文",
            "{encoding}"
        );
    }
    let fonts = "/Font<</F1<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/UniJIS-UTF16-H/DescendantFonts[<</Subtype/CIDFontType0/BaseFont/X>>]>>>>";
    assert_eq!(page(fonts, "BT /F1 12 Tf 300 700 Td <6f225b57> Tj ET"), "漢字");
}

#[test]
fn passwords() {
    use lopdf::{EncryptionState, EncryptionVersion, Permissions};
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, &text_lines(&["secret"]))
        .trailer("/ID[<01020304050607080910111213141516><01020304050607080910111213141516>]");
    for (user_password, expected) in [("", Ok("secret".to_owned())), ("pass", Err(TextError::Encrypted))] {
        let mut document = lopdf::Document::load_mem(&pdf.bytes()).expect("loads");
        let version = EncryptionVersion::V2 {
            document: &document,
            owner_password: "owner",
            user_password,
            key_length: 128,
            permissions: Permissions::all(),
        };
        let state = EncryptionState::try_from(version).expect("encryption");
        document.encrypt(&state).expect("encrypts");
        let mut bytes = Vec::new();
        document.save_to(&mut bytes).expect("saves");
        let result =
            extract(&bytes, Format::Pdf, &Limits::default()).map(|document| document.pages[0].text.clone());
        assert_eq!(result, expected);
    }
}

#[test]
fn marks_follow_their_letters() {
    // The accent is drawn over the letter, as old TeX does.
    let text =
        page(HELVETICA, "BT /F1 12 Tf 1 0 0 1 72 700 Tm (caf) Tj (e) Tj 1 0 0 1 90.7 700 Tm (\\264) Tj ET");
    assert_eq!(text, "café");
}

/// Scores against files that are not part of this project: `DOCUCHAT_CORPUS` names a folder of PDFs.
#[test]
fn corpus() {
    let Some(folder) = std::env::var_os("DOCUCHAT_CORPUS") else {
        eprintln!("skipped: DOCUCHAT_CORPUS is not set");
        return;
    };
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "pdf") {
            let bytes = std::fs::read(entry.path()).expect("readable");
            let begun = std::time::Instant::now();
            match extract(&bytes, Format::Pdf, &Limits::default()) {
                Ok(document) => assert!(document.pages.iter().any(|page| page.has_text)),
                Err(error) => eprintln!("{}: {}", entry.path().display(), error.code()),
            }
            assert!(begun.elapsed().as_secs() < 10, "{}", entry.path().display());
            files += 1;
        }
    }
    assert!(files > 0, "no PDFs in {}", folder.display());
}
