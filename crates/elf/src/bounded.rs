//! Reading pieces of a file, with limits that valid files do not reach.

use std::cell::Cell;
use std::io::{Read, Seek};
use std::ops::Range;

use object::ReadRef;
use object::read::ReadCache;

/// Largest table that is read, in bytes. The largest known symbol tables have a tenth of this size.
const LARGEST: u64 = 64 << 20;

/// Largest number of bytes that are read of one file in total.
const ALL: u64 = 256 << 20;

/// A reader of a file that does not trust the stated sizes of its tables.
pub(crate) struct Bounded<R: Read + Seek> {
    cache: ReadCache<R>,
    left: Cell<u64>,
}

impl<R: Read + Seek> Bounded<R> {
    pub(crate) fn new(content: R) -> Self {
        Self {
            cache: ReadCache::new(content),
            left: Cell::new(ALL),
        }
    }

    fn take(&self, size: u64) -> Result<(), ()> {
        let left = self.left.get().checked_sub(size).ok_or(())?;
        self.left.set(left);
        (size <= LARGEST).then_some(()).ok_or(())
    }
}

impl<'a, R: Read + Seek> ReadRef<'a> for &'a Bounded<R> {
    fn len(self) -> Result<u64, ()> {
        (&self.cache).len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        self.take(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        // The most that the cache reads for a string.
        self.take(4096)?;
        self.cache.read_bytes_at_until(range, delimiter)
    }
}
