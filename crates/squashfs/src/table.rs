//! Lookup tables: an array of positions, each of a metadata block full of entries.

use std::ops::Range;

use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::metadata::{self, Cursor, Metadata};
use crate::source::Source;
use crate::superblock::Superblock;

/// A fragment block's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FragmentEntry {
    pub(crate) start: u64,
    pub(crate) size: u32,
}

/// Returns where the entries of the table whose array is at `array` begin.
///
/// They lie directly before the array, which ends before `limit`.
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

/// Returns a cursor at entry `index` of `size` bytes of a table whose entries fill `blocks` and
/// whose array follows them. `size` divides a metadata block, so no entry spans two.
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

impl Filesystem {
    pub(crate) fn fragment(&self, index: u32) -> Result<FragmentEntry, Error> {
        let fail = |reason| Error::Table {
            table: "fragment table",
            index,
            reason,
        };
        let superblock = self.superblock();
        let array = superblock
            .fragment_table
            .ok_or_else(|| fail("there is no such table"))?;
        if index >= superblock.fragment_count {
            return Err(fail("there are fewer fragments"));
        }
        // The blocks lie somewhere after the directories; each is checked by itself.
        let blocks = superblock.directory_table..array;
        let mut cursor = entry(&self.metadata, &self.source, blocks, index, 16)?;
        Ok(FragmentEntry {
            start: cursor.u64()?,
            size: cursor.u32()?,
        })
    }
}

fn position(source: &Source, at: u64) -> Result<u64, Error> {
    let mut raw = [0; 8];
    source.read(at, &mut raw)?;
    Ok(u64::from_le_bytes(raw))
}
