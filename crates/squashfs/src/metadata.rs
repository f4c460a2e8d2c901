//! Metadata blocks of 8 KiB, and a cursor that reads across them.

use std::ops::Range;
use std::sync::Arc;

use crate::cache::Cache;
use crate::compression::Compression;
use crate::error::Error;
use crate::source::Source;

/// Size of a metadata block's contents in bytes (`SQUASHFS_METADATA_SIZE`).
pub(crate) const BLOCK: usize = 8192;

/// Set in the header of a block that is stored uncompressed (`SQUASHFS_COMPRESSED_BIT`).
const STORED: u16 = 1 << 15;

/// Number of cached blocks: 8 MiB, which holds the metadata of some 200 000 files.
const CACHED: usize = 1024;

/// The contents of a block.
pub(crate) struct Block {
    bytes: Box<[u8]>,
    /// The position of the next block.
    next: u64,
}

/// All metadata blocks of an image.
pub(crate) struct Metadata {
    source: Arc<Source>,
    compression: Compression,
    cache: Cache<u64, Block>,
}

impl Metadata {
    pub(crate) fn new(source: Arc<Source>, compression: Compression) -> Self {
        Self {
            source,
            compression,
            cache: Cache::new(CACHED),
        }
    }

    /// Returns a cursor at byte `offset` of the block at `block`, in the table that fills `table`.
    ///
    /// Nothing is read yet: positions outside the table are an error of the first read.
    pub(crate) fn cursor(&self, table: Range<u64>, block: u64, offset: usize) -> Cursor<'_> {
        Cursor {
            metadata: self,
            at: Position { block, offset },
            end: table.end,
            current: None,
        }
        .bounded(table.start)
    }

    fn block(&self, position: u64, end: u64) -> Result<Arc<Block>, Error> {
        let block = self.cache.get(position, || self.load(position, end))?;
        // The cached block may have been read for a longer table.
        if block.next > end {
            return Err(Error::Metadata {
                position,
                reason: "the block leaves its table",
            });
        }
        Ok(block)
    }

    fn load(&self, position: u64, end: u64) -> Result<Block, Error> {
        let fail = |reason| Error::Metadata { position, reason };
        // Header and contents are read by one call: most blocks are shorter, but two calls cost
        // more.
        let mut raw = [0; BLOCK + 2];
        let there = end.saturating_sub(position).min(raw.len() as u64);
        let raw = usize::try_from(there)
            .ok()
            .and_then(|there| raw.get_mut(..there));
        let raw = raw.ok_or_else(|| fail("the block leaves its table"))?;
        self.source.read(position, raw)?;
        let (header, rest) = raw
            .split_first_chunk()
            .ok_or_else(|| fail("the block leaves its table"))?;
        let header = u16::from_le_bytes(*header);
        let length = usize::from(header & !STORED);
        if length == 0 || length > BLOCK {
            return Err(fail("the block's size is not within 8 KiB"));
        }
        let stored = rest
            .get(..length)
            .ok_or_else(|| fail("the block leaves its table"))?;
        let next = position.saturating_add(2).saturating_add(length as u64);
        if header & STORED != 0 {
            return Ok(Block {
                bytes: stored.into(),
                next,
            });
        }
        let mut contents = [0; BLOCK];
        let compression = self.compression;
        let filled = compression
            .decompress(stored, &mut contents)
            .map_err(|reason| Error::Decompress {
                compression: compression.name(),
                position,
                reason: reason.into(),
            })?;
        match contents.get(..filled) {
            Some(bytes) if !bytes.is_empty() => Ok(Block {
                bytes: bytes.into(),
                next,
            }),
            _ => Err(fail("the block is empty")),
        }
    }
}

/// A position in a table: the start of a block, and an offset into its contents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) block: u64,
    pub(crate) offset: usize,
}

/// Reads little-endian fields in sequence, across blocks.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    metadata: &'a Metadata,
    at: Position,
    /// End of the table.
    end: u64,
    current: Option<Arc<Block>>,
}

impl Cursor<'_> {
    /// Makes every read fail if the cursor is before `start` or beyond the largest offset in a
    /// block.
    fn bounded(mut self, start: u64) -> Self {
        if self.at.block < start || self.at.offset > BLOCK {
            self.end = 0;
        }
        self
    }

    /// Returns the position of the next read.
    pub(crate) fn position(&self) -> Position {
        self.at
    }

    /// Fills `buf`.
    pub(crate) fn read(&mut self, mut buf: &mut [u8]) -> Result<(), Error> {
        while !buf.is_empty() {
            let rest = self.rest()?;
            let length = rest.0.min(buf.len());
            let (now, later) = buf
                .split_at_mut_checked(length)
                .ok_or_else(|| self.fail("out of range"))?;
            let end = self.at.offset.saturating_add(length);
            let from = rest.1.bytes.get(self.at.offset..end);
            now.copy_from_slice(from.ok_or_else(|| self.fail("out of range"))?);
            self.at.offset = end;
            buf = later;
        }
        Ok(())
    }

    /// Skips `length` bytes.
    pub(crate) fn skip(&mut self, mut length: u64) -> Result<(), Error> {
        while length > 0 {
            let here = self.rest()?.0;
            let step = usize::try_from(length).map_or(here, |length| length.min(here));
            self.at.offset = self.at.offset.saturating_add(step);
            length = length.saturating_sub(step as u64);
        }
        Ok(())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        // The field is nearly always within the current block.
        let field = self.current.as_ref().and_then(|block| {
            block
                .bytes
                .get(self.at.offset..)?
                .first_chunk::<N>()
                .copied()
        });
        if let Some(field) = field {
            self.at.offset = self.at.offset.saturating_add(N);
            return Ok(field);
        }
        let mut field = [0; N];
        self.read(&mut field)?;
        Ok(field)
    }

    /// Returns the block of the next byte and the number of bytes left in it, at least one.
    fn rest(&mut self) -> Result<(usize, Arc<Block>), Error> {
        loop {
            let block = match &self.current {
                Some(block) => Arc::clone(block),
                None => self.metadata.block(self.at.block, self.end)?,
            };
            self.current = Some(Arc::clone(&block));
            match block.bytes.len().checked_sub(self.at.offset) {
                Some(0) => {
                    self.at = Position {
                        block: block.next,
                        offset: 0,
                    };
                    self.current = None;
                }
                Some(left) => return Ok((left, block)),
                None => return Err(self.fail("the offset is beyond the block")),
            }
        }
    }

    fn fail(&self, reason: &'static str) -> Error {
        Error::Metadata {
            position: self.at.block,
            reason,
        }
    }
}
