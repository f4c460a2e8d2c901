//! Extended attributes: sets of them in their own metadata, named by an inode.

use std::ops::Range;

use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::inode::Inode;
use crate::metadata::{Cursor, Metadata};
use crate::source::Source;
use crate::table;

/// What messages call it.
const TABLE: &str = "extended attribute table";

/// Size of the table's header before its array of positions, in bytes.
const HEADER: u64 = 16;

/// Set in a type whose value is elsewhere (`SQUASHFS_XATTR_VALUE_OOL`).
const OUT_OF_LINE: u16 = 1 << 8;

/// What a name begins with, by the low byte of its type.
const PREFIXES: &[&[u8]] = &[b"user.", b"trusted.", b"security."];

/// The longest name without its prefix, and the longest value, in bytes (Linux's `XATTR_NAME_MAX`
/// and `XATTR_SIZE_MAX`).
const LONGEST_NAME: u16 = 255;
const LONGEST_VALUE: u32 = 65536;

/// The most attributes of one inode: as many shortest names fill Linux's `XATTR_LIST_MAX`.
const MOST: u32 = 65536 / 7;

/// Where the attributes are.
#[derive(Debug)]
pub(crate) struct XattrTable {
    /// Names and values.
    pairs: Range<u64>,
    /// One entry for each set, and after them the array of their blocks' positions.
    sets: Range<u64>,
    count: u32,
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

    /// Returns where the first of its blocks begins.
    pub(crate) fn start(&self) -> u64 {
        self.pairs.start
    }
}

impl Filesystem {
    /// Returns the names of an inode's extended attributes, such as `user.origin`.
    ///
    /// # Errors
    ///
    /// Attributes that make no sense or cannot be read.
    pub fn xattr_names(&self, inode: &Inode) -> Result<Vec<Vec<u8>>, Error> {
        let mut names = Vec::new();
        if let Some(mut pairs) = self.pairs(inode)? {
            while let Some(pair) = pairs.next()? {
                names.push(pair.name);
            }
        }
        Ok(names)
    }

    /// Returns the value of one of an inode's extended attributes, `None` if it has no such one.
    ///
    /// # Errors
    ///
    /// As [`xattr_names`](Self::xattr_names).
    pub fn xattr(&self, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(mut pairs) = self.pairs(inode)? else {
            return Ok(None);
        };
        while let Some(mut pair) = pairs.next()? {
            if pair.name == name {
                let mut value = vec![0; usize::try_from(pair.length).unwrap_or_default()];
                pair.value.read(&mut value)?;
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Returns whether the image has any extended attributes.
    #[must_use]
    pub fn has_xattrs(&self) -> bool {
        self.xattrs.is_some()
    }

    fn pairs(&self, inode: &Inode) -> Result<Option<Pairs<'_>>, Error> {
        let Some(index) = inode.xattr else {
            return Ok(None);
        };
        let fail = |reason| Error::Table {
            table: TABLE,
            index,
            reason,
        };
        let table = self
            .xattrs
            .as_ref()
            .ok_or_else(|| fail("there is no such table"))?;
        if index >= table.count {
            return Err(fail("there are fewer sets"));
        }
        let sets = table.sets.clone();
        let mut entry = table::entry(&self.metadata, &self.source, sets, index, 16)?;
        let first = entry.u64()?;
        let left = entry.u32()?;
        if left > MOST {
            return Err(fail("more attributes than can be listed"));
        }
        let mut pairs = Pairs {
            metadata: &self.metadata,
            table,
            index,
            left,
            cursor: entry,
        };
        pairs.cursor = pairs.at(first);
        Ok(Some(pairs))
    }
}

/// The attributes of one set, one after the other.
struct Pairs<'a> {
    metadata: &'a Metadata,
    table: &'a XattrTable,
    index: u32,
    left: u32,
    cursor: Cursor<'a>,
}

/// A name, the length of its value and a cursor there.
struct Pair<'a> {
    name: Vec<u8>,
    length: u32,
    value: Cursor<'a>,
}

impl<'a> Pairs<'a> {
    fn next(&mut self) -> Result<Option<Pair<'a>>, Error> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let kind = self.cursor.u16()?;
        let length = self.cursor.u16()?;
        let prefix = PREFIXES.get(usize::from(kind & 0xff));
        let mut name = prefix.ok_or_else(|| self.fail("unknown type"))?.to_vec();
        if length == 0 || length > LONGEST_NAME {
            return Err(self.fail("a name that is not within 255 bytes"));
        }
        let mut rest = vec![0; length.into()];
        self.cursor.read(&mut rest)?;
        if rest.contains(&0) {
            return Err(self.fail("a name with a NUL byte"));
        }
        name.append(&mut rest);
        let stored = self.cursor.u32()?;
        if kind & OUT_OF_LINE != 0 {
            // What is stored here is the value's place, which has its own length.
            let place = self.cursor.u64()?;
            let mut value = self.at(place);
            let length = value.u32()?;
            return self.pair(name, length, value).map(Some);
        }
        let pair = self.pair(name, stored, self.cursor.clone())?;
        self.cursor.skip(stored.into())?;
        Ok(Some(pair))
    }

    fn pair(&self, name: Vec<u8>, length: u32, value: Cursor<'a>) -> Result<Pair<'a>, Error> {
        if length > LONGEST_VALUE {
            return Err(self.fail("a value longer than 64 KiB"));
        }
        Ok(Pair {
            name,
            length,
            value,
        })
    }

    /// Returns a cursor at a place among names and values: a block and an offset, as for inodes.
    fn at(&self, place: u64) -> Cursor<'a> {
        let block = self.table.pairs.start.saturating_add(place >> 16);
        let offset = usize::try_from(place & 0xffff).unwrap_or_default();
        self.metadata
            .cursor(self.table.pairs.clone(), block, offset)
    }

    fn fail(&self, reason: &'static str) -> Error {
        Error::Table {
            table: TABLE,
            index: self.index,
            reason,
        }
    }
}
