//! Reading lopdf's objects without trusting them.

use lopdf::{DecompressError, Dictionary, Document, Error, Object, Stream};

/// How many references may point to references.
const MAX_REFERENCES: usize = 16;

/// Follows references to the object itself; `None` for a dangling one, a loop, or null.
pub(super) fn resolve<'d>(doc: &'d Document, object: &'d Object) -> Option<&'d Object> {
    let mut object = object;
    for _ in 0..MAX_REFERENCES {
        match object {
            Object::Reference(id) => object = doc.objects.get(id)?,
            Object::Null => return None,
            other => return Some(other),
        }
    }
    None
}

/// An entry of a dictionary, references followed.
pub(super) fn get<'d>(doc: &'d Document, dict: &'d Dictionary, key: &[u8]) -> Option<&'d Object> {
    resolve(doc, dict.get(key).ok()?)
}

/// An entry that is a dictionary, or the dictionary of a stream.
pub(super) fn get_dict<'d>(doc: &'d Document, dict: &'d Dictionary, key: &[u8]) -> Option<&'d Dictionary> {
    as_dict(get(doc, dict, key)?)
}

pub(super) fn as_dict(object: &Object) -> Option<&Dictionary> {
    match object {
        Object::Dictionary(dict) => Some(dict),
        Object::Stream(stream) => Some(&stream.dict),
        _ => None,
    }
}

pub(super) fn get_name<'d>(doc: &'d Document, dict: &'d Dictionary, key: &[u8]) -> Option<&'d [u8]> {
    match get(doc, dict, key)? {
        Object::Name(name) => Some(name),
        _ => None,
    }
}

pub(super) fn get_number(doc: &Document, dict: &Dictionary, key: &[u8]) -> Option<f32> {
    number(get(doc, dict, key)?)
}

pub(super) fn get_array<'d>(doc: &'d Document, dict: &'d Dictionary, key: &[u8]) -> Option<&'d [Object]> {
    match get(doc, dict, key)? {
        Object::Array(items) => Some(items),
        _ => None,
    }
}

pub(super) fn get_stream<'d>(doc: &'d Document, dict: &'d Dictionary, key: &[u8]) -> Option<&'d Stream> {
    match get(doc, dict, key)? {
        Object::Stream(stream) => Some(stream),
        _ => None,
    }
}

/// A finite number.
pub(super) fn number(object: &Object) -> Option<f32> {
    let value = match object {
        #[expect(clippy::cast_precision_loss, reason = "coordinates and widths: seven digits are plenty")]
        Object::Integer(value) => *value as f32,
        Object::Real(value) => *value,
        _ => return None,
    };
    value.is_finite().then_some(value)
}

/// An array of `N` numbers, such as a matrix or a rectangle.
pub(super) fn numbers<const N: usize>(doc: &Document, items: &[Object]) -> Option<[f32; N]> {
    let mut out = [0.0; N];
    if items.len() < N {
        return None;
    }
    for (slot, item) in out.iter_mut().zip(items) {
        *slot = number(resolve(doc, item)?)?;
    }
    Some(out)
}

/// The stream would be larger than the limit after decompression.
#[derive(Debug)]
pub(super) struct TooLarge;

/// The decoded bytes of a stream, at most `limit` of them; empty if they cannot be decoded.
pub(super) fn stream_data(doc: &Document, stream: &Stream, limit: usize) -> Result<Vec<u8>, TooLarge> {
    let indirect = |key: &[u8]| {
        match stream.dict.get(key) {
        Ok(Object::Reference(_)) => true,
        Ok(Object::Array(items)) => items.iter().any(|item| matches!(item, Object::Reference(_) | Object::Name(_) if is_identity(item) || matches!(item, Object::Reference(_)))),
        Ok(Object::Name(_)) => stream.dict.get(key).is_ok_and(is_identity),
        _ => false,
    }
    };
    let decoded = if indirect(b"Filter") || indirect(b"DecodeParms") {
        direct(doc, stream).decompressed_content_with_limit(limit)
    } else {
        stream.decompressed_content_with_limit(limit)
    };
    match decoded {
        Ok(data) => Ok(data),
        Err(Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => Err(TooLarge),
        Err(_) => Ok(Vec::new()),
    }
}

/// `/Crypt` has been dealt with when the file was decrypted.
fn is_identity(object: &Object) -> bool {
    matches!(object, Object::Name(name) if name == b"Crypt")
}

/// The stream with its filters and their parameters written directly, as lopdf's decoder wants them.
fn direct(doc: &Document, stream: &Stream) -> Stream {
    let list = |key: &[u8]| -> Vec<Object> {
        match get(doc, &stream.dict, key) {
            Some(Object::Array(items)) => items
                .iter()
                .take(16)
                .map(|item| resolve(doc, item).cloned().unwrap_or(Object::Null))
                .collect(),
            Some(other) => vec![other.clone()],
            None => Vec::new(),
        }
    };
    let mut filters = list(b"Filter");
    let mut parameters = list(b"DecodeParms");
    parameters.resize(filters.len(), Object::Null);
    let mut keep = filters.iter().map(|filter| !is_identity(filter)).collect::<Vec<_>>().into_iter();
    parameters.retain(|_| keep.next().unwrap_or(true));
    filters.retain(|filter| !is_identity(filter));
    let mut dict = Dictionary::new();
    if !filters.is_empty() {
        dict.set("Filter", Object::Array(filters));
        dict.set("DecodeParms", Object::Array(parameters));
    }
    Stream::new(dict, stream.content.clone())
}
