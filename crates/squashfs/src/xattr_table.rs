//! The bounds of the extended attributes' tables.

use std::ops::Range;

use crate::error::Error;
use crate::source::Source;
use crate::table;

/// The table's name in error messages.
pub(crate) const TABLE: &str = "extended attribute table";

/// Size of the table's header before its array of positions, in bytes.
const HEADER: u64 = 16;

/// The positions of the attributes.
#[derive(Debug)]
pub(crate) struct XattrTable {
    /// Names and values.
    pub(crate) pairs: Range<u64>,
    /// One entry for each set, followed by the array of the entries' block positions.
    pub(crate) sets: Range<u64>,
    pub(crate) count: u32,
}

impl XattrTable {
    /// Reads the header at `start`; the table ends before `limit`.
    pub(crate) fn open(source: &Source, start: u64, limit: u64) -> Result<Self, Error> {
        let fail = || Error::TableBounds {
            table: TABLE,
            start,
            limit,
        };
        let array = start
            .checked_add(HEADER)
            .filter(|&array| array <= limit)
            .ok_or_else(fail)?;
        let mut header = [[0; 8]; 2];
        source.read(start, header.as_flattened_mut())?;
        let [pairs, count] = header.map(u64::from_le_bytes);
        let count = u32::try_from(count & u64::from(u32::MAX)).unwrap_or_default();
        if count == 0 {
            return Err(Error::Count {
                what: "extended attribute sets",
                count: 0,
            });
        }
        let index = u64::from(count).div_ceil(512).saturating_mul(8);
        if array.checked_add(index).is_none_or(|end| end > limit) {
            return Err(Error::Count {
                what: "extended attribute sets",
                count: count.into(),
            });
        }
        let sets = table::start(TABLE, source, array, limit)?;
        if pairs >= sets || sets >= start {
            return Err(Error::TableBounds {
                table: TABLE,
                start: pairs,
                limit: sets,
            });
        }
        Ok(Self {
            pairs: pairs..sets,
            sets: sets..array,
            count,
        })
    }

    /// Returns the start of the first block.
    pub(crate) fn start(&self) -> u64 {
        self.pairs.start
    }
}
