//! Bounded reads from the file that contains the image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::error::Error;

/// `size` bytes of `file`, from `offset` on.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    offset: u64,
    size: u64,
}

impl Source {
    /// Returns the bytes from `offset` to the end of the file, at most `size` of them.
    pub(crate) fn new(file: File, offset: u64, size: Option<u64>) -> Result<Self, Error> {
        let length = file
            .metadata()
            .map_err(|e| Error::ImageSize(Arc::new(e)))?
            .len();
        let available = length.saturating_sub(offset);
        Ok(Self {
            file,
            offset,
            size: size.map_or(available, |size| size.min(available)),
        })
    }

    /// Returns the number of bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the same source, cut off after `size` bytes.
    pub(crate) fn cut(self, size: u64) -> Self {
        Self {
            size: self.size.min(size),
            ..self
        }
    }

    /// Fills `buf` from `position`. A source that ends before is an error.
    pub(crate) fn read(&self, position: u64, buf: &mut [u8]) -> Result<(), Error> {
        let length = buf.len();
        let fail = |source| Error::Read {
            position,
            length,
            source: Arc::new(source),
        };
        let end = position.checked_add(length as u64);
        let start = self.offset.checked_add(position);
        match (start, end) {
            (Some(start), Some(end)) if end <= self.size => {
                self.file.read_exact_at(buf, start).map_err(fail)
            }
            _ => Err(fail(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}
