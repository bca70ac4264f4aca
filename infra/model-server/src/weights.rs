//! The `E5S1` file: header, tokenizer, directory of tensors, tensors. All numbers are little-endian.
//!
//! Layout: magic `E5S1`, u32 version 1; i32 hidden, layers, heads, feed-forward, vocabulary, positions, token types;
//! f32 epsilon; i32 block; the tokenizer ([`crate::tokenizer`]); i32 entries of the directory, each u16 name length,
//! name, u8 type (0 = f32, otherwise `Q4_0`), u32 values, u64 offset from the start of the file, u64 bytes.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use crate::{
    q4,
    tokenizer::{Tokenizer, TokenizerParts},
};

/// Why the weights could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be opened or ends early.
    #[error("cannot read the weights {path}: {source}")]
    Read {
        /// The file asked for.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is not what this program knows.
    #[error("{path} is not a weights file that this program knows: {reason}")]
    Format {
        /// The file asked for.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// Sizes of the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    pub(crate) positions: usize,
    pub(crate) epsilon: f32,
}

struct Entry {
    quantized: bool,
    values: usize,
    offset: u64,
    bytes: usize,
}

/// An open weights file whose tensors are read one at a time, so that the whole file is never held in memory.
pub(crate) struct WeightsFile {
    path: String,
    file: BufReader<File>,
    entries: HashMap<String, Entry>,
    pub(crate) shape: Shape,
}

impl std::fmt::Debug for WeightsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeightsFile")
            .field("path", &self.path)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

/// The largest count that a sane file holds; a larger one is corruption and must not become an allocation.
const MOST: usize = 1 << 28;

struct Reader<'a>(&'a mut BufReader<File>);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> std::io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> std::io::Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn count(&mut self) -> std::io::Result<usize> {
        let count = self.u32()?;
        limited(u64::from(count))
    }

    fn long_count(&mut self) -> std::io::Result<usize> {
        let count = self.bytes().map(u64::from_le_bytes)?;
        limited(count)
    }

    fn blob(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn words<T>(&mut self, count: usize, from: impl Fn([u8; 4]) -> T) -> std::io::Result<Vec<T>> {
        let bytes = self.blob(count * 4)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|&word| from(word)).collect())
    }
}

fn limited(count: u64) -> std::io::Result<usize> {
    match usize::try_from(count) {
        Ok(count) if count <= MOST => Ok(count),
        _ => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a count is out of range")),
    }
}

impl WeightsFile {
    /// Opens a file and reads everything before the tensors.
    pub(crate) fn open(path: &Path) -> Result<(Self, Tokenizer), WeightsError> {
        let name = path.display().to_string();
        let read = |source| WeightsError::Read { path: name.clone(), source };
        let format = |reason: &str| WeightsError::Format { path: name.clone(), reason: reason.to_owned() };
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(read)?);
        let mut reader = Reader(&mut file);
        if reader.bytes::<4>().map_err(read)? != *b"E5S1" || reader.u32().map_err(read)? != 1 {
            return Err(format("it does not begin with E5S1 version 1"));
        }
        let (shape, block) = read_shape(&mut reader).map_err(read)?;
        if block != q4::BLOCK_WEIGHTS
            || shape.hidden == 0
            || shape.heads == 0
            || !shape.hidden.is_multiple_of(shape.heads)
            || !(shape.hidden / shape.heads).is_multiple_of(q4::BLOCK_WEIGHTS)
            || !shape.feed_forward.is_multiple_of(q4::BLOCK_WEIGHTS)
            || shape.positions < 3
        {
            return Err(format("its sizes do not fit together"));
        }
        let parts = read_tokenizer(&mut reader).map_err(read)?;
        let tokenizer = Tokenizer::new(parts).ok_or_else(|| format("its tokenizer is inconsistent"))?;
        let entries = read_directory(&mut reader).map_err(read)?;
        Ok((Self { path: name, file, entries, shape }, tokenizer))
    }

    /// The bytes of a tensor of `values` values, as they are stored.
    pub(crate) fn quantized(&mut self, name: &str, values: usize) -> Result<Vec<u8>, WeightsError> {
        let (quantized, bytes) = self.stored(name, values)?;
        let want = values / q4::BLOCK_WEIGHTS * q4::BLOCK_BYTES;
        if quantized && bytes.len() == want { Ok(bytes) } else { Err(self.wrong(name)) }
    }

    /// A tensor of `values` values as f32.
    pub(crate) fn tensor(&mut self, name: &str, values: usize) -> Result<Vec<f32>, WeightsError> {
        let (quantized, bytes) = self.stored(name, values)?;
        if quantized {
            if bytes.len() != values / q4::BLOCK_WEIGHTS * q4::BLOCK_BYTES {
                return Err(self.wrong(name));
            }
            let mut out = vec![0.0; values];
            q4::dequantize(&bytes, &mut out);
            Ok(out)
        } else {
            let (words, _) = bytes.as_chunks::<4>();
            if words.len() != values {
                return Err(self.wrong(name));
            }
            Ok(words.iter().map(|&word| f32::from_le_bytes(word)).collect())
        }
    }

    fn stored(&mut self, name: &str, values: usize) -> Result<(bool, Vec<u8>), WeightsError> {
        let Some(entry) = self.entries.get(name).filter(|entry| entry.values == values) else {
            return Err(self.wrong(name));
        };
        let mut bytes = vec![0; entry.bytes];
        let result =
            self.file.seek(SeekFrom::Start(entry.offset)).and_then(|_| self.file.read_exact(&mut bytes));
        match result {
            Ok(()) => Ok((entry.quantized, bytes)),
            Err(source) => Err(WeightsError::Read { path: self.path.clone(), source }),
        }
    }

    fn wrong(&self, name: &str) -> WeightsError {
        WeightsError::Format {
            path: self.path.clone(),
            reason: format!("tensor {name} is missing or has another size"),
        }
    }
}

fn read_shape(reader: &mut Reader<'_>) -> std::io::Result<(Shape, usize)> {
    let hidden = reader.count()?;
    let layers = reader.count()?;
    let heads = reader.count()?;
    let feed_forward = reader.count()?;
    let vocabulary = reader.count()?;
    let positions = reader.count()?;
    let _token_types = reader.count()?;
    let epsilon = reader.bytes().map(f32::from_le_bytes)?;
    let block = reader.count()?;
    Ok((Shape { hidden, layers, heads, feed_forward, vocabulary, positions, epsilon }, block))
}

fn read_tokenizer(reader: &mut Reader<'_>) -> std::io::Result<TokenizerParts> {
    let pieces = reader.count()?;
    let [begin, end, _padding, unknown] = [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
    let blob_bytes = reader.long_count()?;
    let offsets = reader.words(pieces + 1, u32::from_le_bytes)?;
    let scores = reader.words(pieces, f32::from_le_bytes)?;
    let blob = reader.blob(blob_bytes)?;
    let entries = reader.count()?;
    let _map_bytes = reader.u32()?;
    let mut map = HashMap::with_capacity(entries);
    for _ in 0..entries {
        let from = reader.u32()?;
        let [outputs] = reader.bytes()?;
        let to = reader.words(usize::from(outputs), u32::from_le_bytes)?;
        if let Some(from) = char::from_u32(from) {
            map.insert(from, to.into_iter().filter_map(char::from_u32).collect());
        }
    }
    Ok(TokenizerParts { begin, end, unknown, offsets, scores, blob, map })
}

fn read_directory(reader: &mut Reader<'_>) -> std::io::Result<HashMap<String, Entry>> {
    let count = reader.count()?;
    let mut entries = HashMap::with_capacity(count.min(4096));
    for _ in 0..count {
        let length = reader.bytes().map(u16::from_le_bytes)?;
        let name = String::from_utf8_lossy(&reader.blob(usize::from(length))?).into_owned();
        let [kind] = reader.bytes()?;
        let values = reader.count()?;
        let offset = reader.bytes().map(u64::from_le_bytes)?;
        let bytes = reader.long_count()?;
        entries.insert(name, Entry { quantized: kind != 0, values, offset, bytes });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_not_a_weights_file_is_named() {
        let missing = WeightsFile::open(Path::new("/nonexistent/e5.bin")).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/e5.bin"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"GGUF\x01\0\0\0").unwrap();
        let other = WeightsFile::open(file.path()).unwrap_err();
        assert!(matches!(other, WeightsError::Format { .. }), "{other}");
    }

    #[test]
    fn a_truncated_file_is_an_error_and_a_huge_count_no_allocation() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"E5S1\x01\0\0\0").unwrap();
        assert!(matches!(WeightsFile::open(file.path()), Err(WeightsError::Read { .. })));
        for value in [384_u32, 12, 12, 1536, 250_037, 512, 2, 0, 32, u32::MAX] {
            file.write_all(&value.to_le_bytes()).unwrap();
        }
        assert!(matches!(WeightsFile::open(file.path()), Err(WeightsError::Read { .. })));
    }
}
