//! Files made to hurt. Each must end in a result or an error, in seconds and in bounded memory; nothing may panic.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{HELVETICA, Pdf, text_lines};
use docuchat_text::{Format, Limits, TextError, extract, sniff};

/// Longest time for one file, on a machine that is busy with other tests.
const LONGEST: Duration = Duration::from_secs(20);

/// With `DOCUCHAT_HOSTILE_OUT` set, the files are kept there too, to measure other programs with them.
fn read(bytes: &[u8]) -> Result<String, TextError> {
    if let Some(folder) = std::env::var_os("DOCUCHAT_HOSTILE_OUT") {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{:04}.pdf", COUNT.fetch_add(1, Ordering::Relaxed));
        std::fs::write(Path::new(&folder).join(name), bytes).expect("writable");
    }
    let begun = Instant::now();
    let result = extract(bytes, Format::Pdf, &Limits::default());
    assert!(begun.elapsed() < LONGEST, "took {:?}", begun.elapsed());
    result.map(|document| document.pages.iter().map(|page| page.text.as_str()).collect::<Vec<_>>().join("\n"))
}

fn code(bytes: &[u8]) -> &'static str {
    read(bytes).map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn flate_bombs_are_too_complex() {
    let white = vec![b' '; 400 << 20];
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, "").flate(4, "", &white, 1);
    assert_eq!(code(&pdf.bytes()), "too_complex", "white space");
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, "").flate(4, "", &white, 2);
    assert_eq!(code(&pdf.bytes()), "too_complex", "nested");
    drop(white);
    let text = "BT /F1 12 Tf 1 0 0 1 72 700 Tm (aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) Tj ET\n".repeat(400_000);
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, "").flate(4, "", text.as_bytes(), 1);
    assert_eq!(code(&pdf.bytes()), "too_complex", "text");
}

#[test]
fn an_object_stream_bomb_is_refused() {
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, &text_lines(&["text"]));
    pdf.flate(9, "/Type/ObjStm/N 1/First 4", &vec![b'1'; 200 << 20], 1);
    assert!(matches!(code(&pdf.bytes()), "too_complex" | "ok"));
}

#[test]
fn font_and_map_bombs_do_not_stop_the_page() {
    let mut pdf = Pdf::new();
    pdf.page("/Font<</F1 10 0 R>>", "BT /F1 12 Tf 72 700 Td (AB) Tj ET");
    pdf.object(10, "<</Type/Font/Subtype/TrueType/BaseFont/X/FontDescriptor 11 0 R/ToUnicode 13 0 R>>");
    pdf.object(11, "<</Type/FontDescriptor/Flags 4/FontFile2 12 0 R>>");
    pdf.flate(12, "", &vec![0; 100 << 20], 1);
    pdf.flate(13, "", &"<00><ffffffff><0041>".repeat(3_000_000).into_bytes(), 1);
    assert!(matches!(code(&pdf.bytes()), "ok" | "no_text"));
}

#[test]
fn hostile_character_maps() {
    let maps: [Vec<u8>; 6] = [
        b"1 beginbfrange <00000000> <ffffffff> <0041> endbfrange".to_vec(),
        b"1 beginbfrange <00> <ff> [".to_vec(),
        [b"1 beginbfchar <41> <".as_slice(), &b"d800".repeat(100_000), b"> endbfchar"].concat(),
        "1 beginbfchar <41> <0041> endbfchar ".repeat(100_000).into_bytes(),
        [b"beginbfrange ".as_slice(), &b"[".repeat(1_000_000)].concat(),
        b"beginbfrange <41> <4> <> endbfrange << /A << /B".to_vec(),
    ];
    for map in maps {
        let mut pdf = Pdf::new();
        pdf.page("/Font<</F1 10 0 R>>", "BT /F1 12 Tf 72 700 Td (ABC) Tj ET");
        pdf.object(10, "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 11 0 R>>");
        pdf.flate(11, "", &map, 1);
        assert!(matches!(code(&pdf.bytes()), "ok" | "no_text"));
        // The same as the encoding of a composite font.
        let mut pdf = Pdf::new();
        pdf.page("/Font<</F1 10 0 R>>", "BT /F1 12 Tf 72 700 Td (ABC) Tj ET");
        pdf.object(10, "<</Type/Font/Subtype/Type0/BaseFont/X/Encoding 11 0 R/DescendantFonts[12 0 R]>>");
        pdf.object(12, "<</Subtype/CIDFontType2/W[0 4294967295 500 0 -1 3 [1 2] 7 [[[[]]]]]/DW -100000000>>");
        pdf.flate(11, "", &map, 1);
        assert!(matches!(code(&pdf.bytes()), "ok" | "no_text"));
    }
}

#[test]
fn many_operators_and_glyphs_are_too_complex() {
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, "").flate(4, "", &b"q Q ".repeat(2_500_000), 1);
    assert_eq!(code(&pdf.bytes()), "too_complex");
    let line = format!("BT /F1 1 Tf 10 10 Td ({}) Tj ET\n", "a".repeat(500));
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, "").flate(4, "", line.repeat(1_000).as_bytes(), 1);
    assert_eq!(code(&pdf.bytes()), "too_complex");
    // Just below the bound, all in one place, and all in different places.
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, "").flate(4, "", line.repeat(790).as_bytes(), 1);
    assert_eq!(code(&pdf.bytes()), "ok");
    let mut scattered = String::from("BT /F1 1 Tf\n");
    for index in 0..390_000_u32 {
        let place = index.wrapping_mul(2_654_435_761);
        let (x, y) = (place % 600, (place >> 12) % 780);
        let _ = writeln!(scattered, "1 0 0 1 {x} {y} Tm (a) Tj");
    }
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, "").flate(4, "", scattered.as_bytes(), 1);
    assert_eq!(code(&pdf.bytes()), "ok");
    // Only marks, which all want the same letter.
    let mut marks = String::from("BT /F1 1 Tf 300 300 Td (a) Tj\n");
    for _ in 0..390_000 {
        marks += "1 0 0 1 300 300 Tm (\\264) Tj\n";
    }
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, "").flate(4, "", marks.as_bytes(), 1);
    assert_eq!(code(&pdf.bytes()), "ok");
}

#[test]
fn deep_nesting() {
    let deep = [
        "[".repeat(2_000_000),
        "<</A".repeat(1_000_000),
        "q ".repeat(1_000_000),
        "/Span<</ActualText(x)>>BDC ".repeat(300_000),
        "(".repeat(2_000_000),
        "BI ID ".repeat(500_000),
        "1 ".repeat(5_000_000),
    ];
    for part in deep {
        let content = format!("{}\n{part}", text_lines(&["before"]));
        let mut pdf = Pdf::new();
        pdf.page(HELVETICA, "").flate(4, "", content.as_bytes(), 1);
        assert_eq!(read(&pdf.bytes()).expect("the text before it"), "before");
    }
    // The same in the file's own objects, where the parser of objects meets it.
    for part in ["[".repeat(1_000_000), "<</A".repeat(500_000), "(".repeat(1_000_000)] {
        let mut pdf = Pdf::new();
        pdf.page(HELVETICA, &text_lines(&["text"])).object(9, part);
        assert!(matches!(code(&pdf.bytes()), "ok" | "corrupt"));
    }
}

#[test]
fn forms_that_draw_forms() {
    // A chain deeper than the bound, a loop, and a tree that doubles at each level.
    let mut chain = Pdf::new();
    chain.page(&format!("{HELVETICA}/XObject<</X 100 0 R>>"), &format!("{} /X Do", text_lines(&["top"])));
    for number in 100..200 {
        let next = number + 1;
        chain.stream(
            number,
            &format!("/Subtype/Form/Resources<<{HELVETICA}/XObject<</X {next} 0 R>>>>"),
            b"/X Do",
        );
    }
    assert_eq!(code(&chain.bytes()), "ok");
    let mut own = Pdf::new();
    own.page(&format!("{HELVETICA}/XObject<</X 100 0 R>>"), &format!("{} /X Do", text_lines(&["top"])));
    own.stream(100, &format!("/Subtype/Form/Resources<<{HELVETICA}/XObject<</X 100 0 R>>>>"), b"/X Do /X Do");
    assert_eq!(code(&own.bytes()), "ok");
    let mut tree = Pdf::new();
    tree.page("/XObject<</X 100 0 R>>", "/X Do");
    for number in 100..112 {
        let next = number + 1;
        let content = "/X Do ".repeat(50);
        tree.stream(
            number,
            &format!("/Subtype/Form/Resources<</XObject<</X {next} 0 R>>>>"),
            content.as_bytes(),
        );
    }
    assert_eq!(code(&tree.bytes()), "too_complex");
    // A large form without text drawn again and again: the bytes are counted.
    let mut large = Pdf::new();
    large.page("/XObject<</X 100 0 R>>", &"/X Do ".repeat(10_000));
    large.flate(100, "/Subtype/Form", &vec![b' '; 30 << 20], 1);
    assert_eq!(code(&large.bytes()), "too_complex");
}

#[test]
fn reference_loops() {
    for body in [
        "<</Type/Pages/Kids[2 0 R]/Count 1>>",
        "<</Type/Pages/Kids[5 0 R]/Count 1>>",
        "<</Type/Pages/Kids 2 0 R>>",
        "<</Type/Pages/Kids[2 0 R 2 0 R 5 0 R]/Parent 2 0 R/Resources 2 0 R/MediaBox 2 0 R>>",
        "2 0 R",
        "<</Type/Pages>>",
    ] {
        let mut pdf = Pdf::new();
        pdf.object(2, body).object(5, "<</Type/Pages/Kids[2 0 R]/Parent 5 0 R>>");
        assert_eq!(code(&pdf.bytes()), "corrupt", "{body}");
    }
    let mut pdf = Pdf::new();
    pdf.page("/Font 6 0 R/XObject 6 0 R", "BT /F1 12 Tf (x) Tj ET /F1 Do");
    pdf.object(6, "<</F1 6 0 R>>");
    assert!(matches!(code(&pdf.bytes()), "ok" | "no_text"));
    // A length that is the stream itself, a font that is its own descendant, a map that is its own.
    let mut pdf = Pdf::new();
    pdf.page("/Font<</F1 6 0 R>>", "BT /F1 12 Tf 72 700 Td (x) Tj ET");
    pdf.object(6, "<</Type/Font/Subtype/Type0/DescendantFonts[6 0 R]/Encoding 7 0 R/ToUnicode 7 0 R>>");
    pdf.object(7, "<</Length 7 0 R/UseCMap 7 0 R>>\nstream\n1 begincmap\nendstream");
    assert!(matches!(code(&pdf.bytes()), "ok" | "no_text" | "corrupt"));
    let mut pdf = Pdf::new();
    pdf.page(HELVETICA, "");
    pdf.object(4, "<</Length 4 0 R>>\nstream\nBT /F1 12 Tf 72 700 Td (x) Tj ET\nendstream");
    assert!(matches!(code(&pdf.bytes()), "ok" | "no_text" | "corrupt"));
}

#[test]
fn too_many_pages() {
    let page = text_lines(&["page"]);
    let mut pdf = Pdf::new();
    pdf.pages(10, HELVETICA, &vec![page.clone(); 501]);
    assert_eq!(code(&pdf.bytes()), "too_many_pages");
    let mut pdf = Pdf::new();
    pdf.pages(10, HELVETICA, &vec![page; 20_000]);
    assert_eq!(code(&pdf.bytes()), "too_many_pages");
    // Trees of trees, each naming the next one many times.
    let mut pdf = Pdf::new();
    for number in 2..60 {
        let kids = format!("{} 0 R ", number + 1).repeat(1_000);
        pdf.object(number, format!("<</Type/Pages/Kids[{kids}]/Count 2147483647>>"));
    }
    assert!(matches!(code(&pdf.bytes()), "corrupt" | "no_text" | "too_many_pages"));
}

#[test]
fn numbers_out_of_range() {
    let mut pdf = Pdf::new();
    pdf.page(
        HELVETICA,
        "BT /F1 99999999999999999999999999999999999999999 Tf 1e38 1e38 Td (x) Tj ET
        BT /F1 12 Tf 1 0 0 1 72 700 Tm -1e38 Tc (far) Tj 0 Tc 1 0 0 1 72 600 Tm (near) Tj ET
        1e30 0 0 1e30 0 0 cm 1e30 0 0 1e30 0 0 cm 1e30 0 0 1e30 0 0 cm BT /F1 12 Tf (gone) Tj ET",
    );
    pdf.object(4_294_967_294, "null").object(9, "<</Length -5>>\nstream\nx\nendstream");
    assert!(matches!(code(&pdf.bytes()), "ok"));
    let mut pdf = Pdf::new();
    pdf.object(2, "<</Type/Pages/Kids[3 0 R]/Count -99999999999999999999>>");
    pdf.object(3, "<</Type/Page/MediaBox[1e30 -1e30 0 0]/Rotate 99999999999/Contents[4 0 R 99999999 0 R null 3]/Resources<</Font<</F1 6 0 R>>>>/Annots[<</Subtype/FreeText/AP<</N 4 0 R>>/Rect[0 0 1e38 -1e38]>>]>>");
    pdf.stream(4, "/BBox[0 0 1e-30 0]/Matrix[0 0 0 0 0 0]", text_lines(&["x"]).as_bytes());
    pdf.object(6, "<</Type/Font/Subtype/Type3/FontMatrix[0 0 0 0 0 0]/FontBBox[0 0 1e38 -1e38]/FirstChar -7/Widths[1e38 -1e38]/Encoding<</Differences[-5/a 300/b/c 99999999999/d]>>>>");
    code(&pdf.bytes());
}

#[test]
fn broken_files() {
    let mut pdf = Pdf::new();
    let lines: Vec<String> = (0..40).map(|line| format!("This is line number {line}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    pdf.page(HELVETICA, &text_lines(&lines));
    let whole = pdf.bytes();
    assert_eq!(code(&whole), "ok");
    for length in (0..whole.len()).step_by(37) {
        code(&whole[..length]);
    }
    // A wrong offset, a missing table, a table of nonsense.
    let text = String::from_utf8_lossy(&whole).into_owned();
    for broken in [
        text.replace("startxref\n", "startxref\n9"),
        text.split("xref\n0").next().expect("head").to_owned(),
        text.replace("0000000", "9999999"),
        text.replace("/Root 1 0 R", "/Root 77 0 R"),
        text.replace("/Length ", "/Length 9"),
        text.replace("endstream", "endstr"),
        text.replace("endobj", ""),
        text.replace("xref", "xerf"),
    ] {
        let outcome = code(broken.as_bytes());
        assert!(matches!(outcome, "ok" | "corrupt" | "no_text"), "{outcome}");
    }
    // Bytes changed here and there.
    let mut seed = 1_u32;
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..8 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = seed as usize % bytes.len();
            bytes[at] = (seed >> 24) as u8;
        }
        code(&bytes);
    }
    for bytes in [
        b"%PDF-".as_slice(),
        b"%PDF-1.7",
        b"%PDF-1.7\nstartxref\n0\n%%EOF",
        b"%PDF-1.7\ntrailer<</Root 1 0 R>>",
    ] {
        assert_eq!(code(bytes), "corrupt");
    }
}

#[test]
fn hostile_font_programs() {
    let mut fonts: Vec<Vec<u8>> = vec![
        b"%!PS /Encoding 256 array dup dup dup 999 /A put def".to_vec(),
        [b"%!PS /Encoding ".as_slice(), &b"dup 1 /A put ".repeat(100_000)].concat(),
        b"\x01\x00\x04\x04\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"OTTO\xff\xff\xff\xff".to_vec(),
        vec![0xff; 100_000],
    ];
    // A TrueType header with a character map whose groups span everything.
    let mut sfnt = b"\0\x01\0\0\0\x01\0\0\0\0\0\0cmap\0\0\0\0\0\0\0\x1c\0\0\0\x40".to_vec();
    sfnt.extend_from_slice(b"\0\0\0\x01\0\x03\0\x0a\0\0\0\x0c\0\x0c\0\0\0\0\0\x1c\0\0\0\0\0\0\0\x01\0\0\0\0\xff\xff\xff\xff\0\0\0\0");
    fonts.push(sfnt);
    for program in fonts {
        for key in ["FontFile", "FontFile2", "FontFile3"] {
            let mut pdf = Pdf::new();
            pdf.page("/Font<</F1 10 0 R/F2 20 0 R>>", "BT /F1 12 Tf 72 700 Td (AB) Tj /F2 12 Tf (AB) Tj ET");
            pdf.object(10, "<</Type/Font/Subtype/TrueType/BaseFont/X/FontDescriptor 11 0 R>>");
            pdf.object(
                20,
                "<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/Identity-H/DescendantFonts[21 0 R]>>",
            );
            pdf.object(21, "<</Type/Font/Subtype/CIDFontType2/FontDescriptor 11 0 R/CIDToGIDMap 13 0 R>>");
            pdf.object(11, format!("<</Type/FontDescriptor/Flags 4/{key} 12 0 R>>"));
            pdf.flate(12, "", &program, 1).stream(13, "", b"\0");
            assert!(matches!(code(&pdf.bytes()), "ok" | "no_text"));
        }
    }
}

#[test]
fn fonts_that_are_loaded_again_and_again() {
    // More fonts than are kept, each with a map that is small in the file and large in memory.
    let map = "1 beginbfchar <41> <0041> endbfchar ".repeat(100_000);
    let mut pdf = Pdf::new();
    let mut fonts = String::new();
    let mut content = String::new();
    for number in 100..500 {
        let _ = write!(fonts, "/F{number} {number} 0 R");
        let _ = write!(content, "/F{number} 12 Tf ");
        pdf.object(number, "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 11 0 R>>");
    }
    pdf.page(&format!("/Font<<{fonts}>>"), &content.repeat(200)).flate(11, "", map.as_bytes(), 1);
    assert_eq!(code(&pdf.bytes()), "too_complex");
    // The same with fonts that have no number and no map.
    let mut fonts = String::new();
    for number in 100..500 {
        let _ = write!(fonts, "/F{number}<</Type/Font/Subtype/Type0/Encoding/UniJIS-UTF16-H>>");
    }
    let mut pdf = Pdf::new();
    pdf.page(&format!("/Font<<{fonts}>>"), &content.repeat(200));
    assert_eq!(code(&pdf.bytes()), "too_complex");
}

#[test]
fn the_deadline_is_kept() {
    let mut pdf = Pdf::new();
    pdf.pages(10, HELVETICA, &vec![text_lines(&["page"]); 100]);
    let limits = Limits::default().with_deadline(Instant::now());
    assert_eq!(extract(&pdf.bytes(), Format::Pdf, &limits), Err(TextError::DeadlineExceeded));
    let content = "q Q ".repeat(700_000);
    let mut pdf = Pdf::new();
    pdf.pages(10, HELVETICA, &vec![content; 8]);
    let bytes = pdf.bytes();
    // Far less than these eleven million operators take anywhere.
    let limits = Limits::default().with_deadline(Instant::now() + Duration::from_millis(2));
    assert_eq!(extract(&bytes, Format::Pdf, &limits), Err(TextError::DeadlineExceeded));
}

#[test]
fn sizes_and_emptiness() {
    let limits = Limits::default();
    assert_eq!(extract(b"", Format::Pdf, &limits), Err(TextError::EmptyFile));
    let large = vec![b'x'; limits.max_bytes + 1];
    assert_eq!(extract(&large, Format::PlainText, &limits).unwrap_err().code(), "file_too_large");
    assert_eq!(sniff(b"", "a.pdf"), Err(TextError::EmptyFile));
    assert_eq!(extract(b" \n\t", Format::PlainText, &limits), Err(TextError::NoText));
}
