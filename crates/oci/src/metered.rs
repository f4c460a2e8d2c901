//! Reading a tar with a limit on the size of its headers.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

/// Largest size of an entry's headers, in bytes. Long names and attributes have headers of their
/// own.
const HEADERS: u64 = 4 << 20;

/// A reader that returns an error when more is read than its [`Meter`] allows.
pub(crate) struct Metered<R> {
    inner: R,
    left: Rc<Cell<u64>>,
    count: Rc<Cell<u64>>,
}

/// Sets how many bytes may be read, and counts the bytes that were read.
pub(crate) struct Meter {
    left: Rc<Cell<u64>>,
    count: Rc<Cell<u64>>,
}

impl<R> Metered<R> {
    pub(crate) fn new(inner: R) -> (Self, Meter) {
        let (left, count) = (Rc::new(Cell::new(u64::MAX)), Rc::default());
        let meter = Meter {
            left: Rc::clone(&left),
            count: Rc::clone(&count),
        };
        (Self { inner, left, count }, meter)
    }
}

impl Meter {
    /// Allows `behind` bytes, the rest of the previous entry, and then an entry's headers.
    pub(crate) fn allow_headers(&self, behind: u64) {
        self.left.set(HEADERS.saturating_add(behind));
    }

    pub(crate) fn allow_all(&self) {
        self.left.set(u64::MAX);
    }

    /// Returns the number of bytes that were read.
    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other(
                "the names of an entry take more than four mebibytes",
            ));
        }
        let length = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self
            .inner
            .read(buffer.get_mut(..length).unwrap_or_default())?;
        self.left.set(left - count as u64);
        self.count
            .set(self.count.get().saturating_add(count as u64));
        Ok(count)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
