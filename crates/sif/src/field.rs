//! Reads and writes little-endian numbers and NUL-padded text in a packed record.

/// Returns the `N` bytes at `at`, or zeros if the record is too short.
fn bytes<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    record
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

pub(crate) fn u32_at(record: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes(record, at))
}

pub(crate) fn i64_at(record: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(bytes(record, at))
}

pub(crate) fn array_at<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    bytes(record, at)
}

/// Writes bytes into a record. Bytes beyond its end are dropped.
pub(crate) fn put(record: &mut [u8], at: usize, value: &[u8]) {
    let field = record.get_mut(at..).unwrap_or_default();
    for (byte, value) in field.iter_mut().zip(value) {
        *byte = *value;
    }
}

/// Returns the text at `at`, up to its NUL and at most `length` bytes long.
pub(crate) fn text_at(record: &[u8], at: usize, length: usize) -> String {
    let field = record.get(at..).unwrap_or_default();
    let field = field.get(..length).unwrap_or(field);
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}
