//! PDFs made by hand, so that tests can write what no writer would.

use std::fmt::Write as _;

/// A file in the making: numbered objects, then a cross-reference table.
#[derive(Default)]
pub struct Pdf {
    objects: Vec<(u32, Vec<u8>)>,
    trailer: String,
}

impl Pdf {
    /// A file whose catalog is object 1 and whose page tree is object 2.
    pub fn new() -> Self {
        let mut pdf = Self::default();
        pdf.object(1, "<</Type/Catalog/Pages 2 0 R>>");
        pdf
    }

    pub fn object(&mut self, number: u32, body: impl AsRef<[u8]>) -> &mut Self {
        self.objects.push((number, body.as_ref().to_vec()));
        self
    }

    pub fn stream(&mut self, number: u32, entries: &str, data: &[u8]) -> &mut Self {
        let mut body = format!("<<{entries}/Length {}>>\nstream\n", data.len()).into_bytes();
        body.extend_from_slice(data);
        body.extend_from_slice(b"\nendstream");
        self.object(number, body)
    }

    /// A stream compressed `times` times over.
    pub fn flate(&mut self, number: u32, entries: &str, data: &[u8], times: usize) -> &mut Self {
        let mut packed = data.to_vec();
        for _ in 0..times {
            packed = deflate(&packed);
        }
        let filters = "/FlateDecode".repeat(times);
        self.stream(number, &format!("{entries}/Filter[{filters}]"), &packed)
    }

    /// More entries of the trailer.
    pub fn trailer(&mut self, entries: &str) -> &mut Self {
        self.trailer.push_str(entries);
        self
    }

    /// Pages with these contents and resources; objects 2, and from `first` on two for each page.
    pub fn pages(&mut self, first: u32, resources: &str, contents: &[String]) -> &mut Self {
        let mut kids = String::new();
        for (index, content) in (0..).zip(contents) {
            let page = first + index * 2;
            let _ = write!(kids, "{page} 0 R ");
            self.object(page, format!("<</Type/Page/Parent 2 0 R/Contents {} 0 R>>", page + 1));
            self.stream(page + 1, "", content.as_bytes());
        }
        let count = contents.len();
        self.object(
            2,
            format!(
                "<</Type/Pages/Kids[{kids}]/Count {count}/MediaBox[0 0 612 792]/Resources<<{resources}>>>>"
            ),
        )
    }

    /// One page, object 3, with this content, object 4.
    pub fn page(&mut self, resources: &str, content: &str) -> &mut Self {
        self.pages(3, resources, &[content.to_owned()])
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
        let mut table = String::new();
        let mut count = 0;
        for (number, body) in &self.objects {
            let _ = writeln!(table, "{number} 1\n{:010} 00000 n ", out.len());
            out.extend_from_slice(format!("{number} 0 obj\n").as_bytes());
            out.extend_from_slice(body);
            out.extend_from_slice(b"\nendobj\n");
            count = count.max(*number);
        }
        let start = out.len();
        let trailer = &self.trailer;
        out.extend_from_slice(
            format!(
                "xref\n0 1\n0000000000 65535 f \n{table}trailer\n<</Size {}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF\n",
                count.saturating_add(1)
            )
            .as_bytes(),
        );
        out
    }
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut stream = lopdf::Stream::new(lopdf::Dictionary::new(), data.to_vec());
    stream.compress().expect("compresses");
    stream.content
}

/// Resources with Helvetica as `/F1`.
pub const HELVETICA: &str =
    "/Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>>>";

/// Lines of text from the top of the page, 14 points apart.
pub fn text_lines(lines: &[&str]) -> String {
    let mut out = "BT /F1 12 Tf 14 TL 72 720 Td".to_owned();
    for line in lines {
        let _ = write!(out, " ({line}) Tj T*");
    }
    out + " ET"
}

/// Two or four hexadecimal digits for each number.
pub fn hex<T: std::fmt::LowerHex>(numbers: impl IntoIterator<Item = T>, digits: usize) -> String {
    let mut out = String::new();
    for number in numbers {
        let _ = write!(out, "{number:0digits$x}");
    }
    out
}
