//! Extended attributes: an inode refers to a set of them, which has its own metadata.

use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::inode::Inode;
use crate::metadata::{Cursor, Metadata};
use crate::table;
use crate::xattr_table::{TABLE, XattrTable};

/// Set in a type whose value is stored elsewhere (`SQUASHFS_XATTR_VALUE_OOL`).
const OUT_OF_LINE: u16 = 1 << 8;

/// The prefixes of names, by the low byte of the type.
const PREFIXES: &[&[u8]] = &[b"user.", b"trusted.", b"security."];

/// Longest name without its prefix, and longest value, in bytes (Linux's `XATTR_NAME_MAX` and
/// `XATTR_SIZE_MAX`).
const LONGEST_NAME: u16 = 255;
const LONGEST_VALUE: u32 = 65536;

/// Largest number of attributes of an inode: that many shortest names fill Linux's
/// `XATTR_LIST_MAX`.
const MOST: u32 = 65536 / 7;

impl Filesystem {
    /// Returns the names of an inode's extended attributes, such as `user.origin`.
    ///
    /// # Errors
    ///
    /// Attributes that are invalid or cannot be read.
    pub fn xattr_names(&self, inode: &Inode) -> Result<Vec<Vec<u8>>, Error> {
        let mut names = Vec::new();
        if let Some(mut pairs) = self.pairs(inode)? {
            while let Some(pair) = pairs.next()? {
                names.push(pair.name);
            }
        }
        Ok(names)
    }

    /// Returns the value of an inode's extended attribute. Returns `None` if the inode does not
    /// have it.
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

/// The attributes of a set, in sequence.
struct Pairs<'a> {
    metadata: &'a Metadata,
    table: &'a XattrTable,
    index: u32,
    left: u32,
    cursor: Cursor<'a>,
}

/// A name, the length of its value, and a cursor at the value.
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
            // The position of the value is stored here. The value there has its own length.
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

    /// Returns a cursor at a position among names and values: a block and an offset, as for inodes.
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
