//! Reading pieces of a file, none of them larger than what an honest one has.

use std::cell::Cell;
use std::io::{Read, Seek};
use std::ops::Range;

use object::ReadRef;
use object::read::ReadCache;

/// The largest table that is read, in bytes. The largest known symbol tables have a tenth of it.
const LARGEST: u64 = 64 << 20;

/// How much is read of one file in all, in bytes.
const ALL: u64 = 256 << 20;

/// A file whose claims about the sizes of its tables are not believed.
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
        // What the cache reads at most for a string.
        self.take(4096)?;
        self.cache.read_bytes_at_until(range, delimiter)
    }
}
