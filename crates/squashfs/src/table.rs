//! Lookup tables: an array with the positions of metadata blocks, which are full of entries.

use std::ops::Range;

use crate::error::Error;
use crate::metadata::{self, Cursor, Metadata};
use crate::source::Source;
use crate::superblock::Superblock;

/// Returns the start of the entries of a table whose array is at `array`.
///
/// The entries lie directly before the array, which ends before `limit`.
pub(crate) fn start(
    table: &'static str,
    source: &Source,
    array: u64,
    limit: u64,
) -> Result<u64, Error> {
    if array.checked_add(8).is_none_or(|end| end > limit) {
        return Err(Error::TableBounds {
            table,
            start: array,
            limit,
        });
    }
    let start = position(source, array)?;
    if start >= array {
        return Err(Error::TableBounds {
            table,
            start,
            limit: array,
        });
    }
    Ok(start)
}

/// Returns a cursor at entry `index` of a table with entries of `size` bytes. The entries fill
/// `blocks`, and the array follows them. `size` divides a metadata block, so no entry spans two
/// blocks.
pub(crate) fn entry<'a>(
    metadata: &'a Metadata,
    source: &Source,
    blocks: Range<u64>,
    index: u32,
    size: usize,
) -> Result<Cursor<'a>, Error> {
    let byte = u64::from(index).saturating_mul(size as u64);
    let slot = (byte / metadata::BLOCK as u64).saturating_mul(8);
    let block = position(source, blocks.end.saturating_add(slot))?;
    let offset = usize::try_from(byte % metadata::BLOCK as u64).unwrap_or_default();
    Ok(metadata.cursor(blocks, block, offset))
}

/// Reads the id table: up to 65 535 user and group ids, so at most 256 KiB.
pub(crate) fn ids(
    metadata: &Metadata,
    source: &Source,
    superblock: &Superblock,
    start: u64,
) -> Result<Vec<u32>, Error> {
    let blocks = start..superblock.id_table;
    let mut ids = Vec::new();
    let mut cursor = entry(metadata, source, blocks, 0, 4)?;
    for _ in 0..superblock.id_count {
        ids.push(cursor.u32()?);
    }
    Ok(ids)
}

fn position(source: &Source, at: u64) -> Result<u64, Error> {
    let mut raw = [0; 8];
    source.read(at, &mut raw)?;
    Ok(u64::from_le_bytes(raw))
}
