//! Part of a file, read in place.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Part of a file. Several may be read at the same time, since the file's own position is not used.
#[derive(Debug, Clone)]
pub struct Slice<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl<'a> Slice<'a> {
    /// Returns the part of `size` bytes at `offset`.
    #[must_use]
    pub fn new(file: &'a File, offset: u64, size: u64) -> Self {
        Self {
            file,
            at: offset,
            left: size,
        }
    }
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX);
        let length = length.min(buffer.len());
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
