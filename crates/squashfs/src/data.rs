//! The contents of files: blocks, holes, and the shared blocks that hold the ends of files.

use std::cell::RefCell;
use std::sync::{Arc, PoisonError};

use crate::block_cache::Checkpoint;
use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::inode::{Body, Fragment, Inode};
use crate::metadata::Cursor;
use crate::table;

/// Set in the size of a block that is stored uncompressed (`SQUASHFS_COMPRESSED_BIT_BLOCK`).
const STORED: u32 = 1 << 24;

/// Number of blocks between two checkpoints of a file's block list: half a metadata block.
const STEP: u64 = 1024;

thread_local! {
    /// A buffer for a block before it is decompressed: at most one block, so 1 MiB.
    static STORED_BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A stored block of file contents.
#[derive(Clone, Copy)]
struct Stored {
    start: u64,
    /// The stored size in bytes; 0 for a hole.
    size: u32,
    compressed: bool,
}

impl Stored {
    fn new(start: u64, field: u32) -> Self {
        Self {
            start,
            size: field & !STORED,
            compressed: field & STORED == 0,
        }
    }
}

impl Filesystem {
    /// Reads from byte `offset` of a file into `buf`. The buffer is filled, except at the end of
    /// the file.
    ///
    /// # Errors
    ///
    /// Another kind of inode, or contents that cannot be read.
    pub fn read(&self, file: &Inode, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        let mut blocks = Blocks::new(self, file)?;
        let left = file.size.saturating_sub(offset);
        let length = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..length).filter(|rest| !rest.is_empty()) {
            let position = offset.saturating_add(done as u64);
            let index = position / self.block_size();
            let within = usize::try_from(position % self.block_size()).unwrap_or_default();
            let filled = blocks.read(index, within, rest)?;
            done = done.saturating_add(filled);
        }
        Ok(done)
    }

    /// Returns the number of bytes from `offset` on that lie in a hole; 0 if there is no hole.
    ///
    /// `offset` is the start of a block.
    pub(crate) fn hole(&self, file: &Inode, offset: u64) -> Result<u64, Error> {
        let mut blocks = Blocks::new(self, file)?;
        let first = offset / self.block_size();
        let mut index = first;
        while index < blocks.count && blocks.find(index)?.size == 0 {
            index = index.saturating_add(1);
        }
        let length = index
            .saturating_sub(first)
            .saturating_mul(self.block_size());
        Ok(length.min(file.size.saturating_sub(offset)))
    }

    /// Fills `into` from byte `within` of a stored block. The decompressed block has `length`
    /// bytes.
    fn read_stored(
        &self,
        block: Stored,
        length: usize,
        within: usize,
        into: &mut [u8],
    ) -> Result<(), Error> {
        if !block.compressed {
            // The system's page cache has the block already, so it is not copied into this cache.
            return self
                .source
                .read(block.start.saturating_add(within as u64), into);
        }
        // A whole block goes directly to the caller. A second read of it is unlikely, because the
        // kernel caches it as well.
        if within == 0 && into.len() == length {
            if let Some(cached) = self.data.blocks.await_made(block.start) {
                return copy(&cached, within, into).ok_or_else(|| self.short(block));
            }
            let filled = self.decompress(block, into)?;
            return if filled == length {
                Ok(())
            } else {
                Err(self.short(block))
            };
        }
        let contents = self.kept(block)?;
        copy(&contents, within, into).ok_or_else(|| self.short(block))
    }

    /// Returns the contents of a compressed block from the cache, which makes them if needed.
    fn kept(&self, block: Stored) -> Result<Arc<Box<[u8]>>, Error> {
        self.data.blocks.get(block.start, || {
            let mut contents = vec![0; usize::try_from(self.block_size()).unwrap_or_default()];
            let filled = self.decompress(block, &mut contents)?;
            contents.truncate(filled);
            Ok(contents.into_boxed_slice())
        })
    }

    /// Puts the block at byte `offset` of a file into the cache, for a read that is likely to
    /// follow.
    ///
    /// An error is ignored here, because that read will fail and report it.
    pub(crate) fn prepare(&self, file: &Inode, offset: u64) {
        let index = offset / self.block_size();
        let Ok(mut blocks) = Blocks::new(self, file) else {
            return;
        };
        if index >= blocks.count {
            return;
        }
        if let Ok(block) = blocks.find(index)
            && block.compressed
            && block.size > 0
        {
            let _ = self.kept(block);
        }
    }

    fn decompress(&self, block: Stored, into: &mut [u8]) -> Result<usize, Error> {
        let mut stored = vec![0; usize::try_from(block.size).unwrap_or_default()];
        self.source.read(block.start, &mut stored)?;
        let compression = self.superblock().compression;
        compression
            .decompress(&stored, into)
            .map_err(|reason| Error::Decompress {
                compression: compression.name(),
                position: block.start,
                reason: reason.into(),
            })
    }

    fn short(&self, block: Stored) -> Error {
        Error::Decompress {
            compression: self.superblock().compression.name(),
            position: block.start,
            reason: Arc::from("the block has not the length that its file has room for"),
        }
    }
}

fn copy(contents: &[u8], within: usize, into: &mut [u8]) -> Option<()> {
    into.copy_from_slice(contents.get(within..within.checked_add(into.len())?)?);
    Some(())
}

/// A walk through a file's block list. The list has the sizes of the blocks, so the position of a
/// block is the sum of the sizes before it.
struct Blocks<'a> {
    fs: &'a Filesystem,
    file: &'a Inode,
    first: Checkpoint,
    fragment: Option<Fragment>,
    /// Number of blocks in the list.
    count: u64,
    /// The present walk, which is at the block `next`.
    walk: Option<Walk<'a>>,
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    next: u64,
    start: u64,
}

impl<'a> Blocks<'a> {
    fn new(fs: &'a Filesystem, file: &'a Inode) -> Result<Self, Error> {
        let Body::File {
            start,
            fragment,
            blocks,
        } = file.body
        else {
            return Err(Error::NotFile(file.reference));
        };
        // A file with a fragment has its last, incomplete block there and not in the list.
        let count = match fragment {
            Some(_) => file.size.checked_div(fs.block_size()).unwrap_or_default(),
            None => file.size.div_ceil(fs.block_size()),
        };
        let first = Checkpoint {
            list: blocks,
            start,
        };
        Ok(Self {
            fs,
            file,
            first,
            fragment,
            count,
            walk: None,
        })
    }

    /// Fills the front of `into` from byte `within` of block `index`, up to the end of that block.
    /// Returns the number of bytes.
    fn read(&mut self, index: u64, within: usize, into: &mut [u8]) -> Result<usize, Error> {
        let before = index.saturating_mul(self.fs.block_size());
        let length = self
            .file
            .size
            .saturating_sub(before)
            .min(self.fs.block_size());
        let length = usize::try_from(length).unwrap_or_default();
        let wanted = length.saturating_sub(within).min(into.len());
        let into = match into.get_mut(..wanted) {
            Some(into) if !into.is_empty() => into,
            _ => return Err(self.fail(index, "out of range")),
        };
        if index >= self.count {
            self.read_fragment(index, length, within, into)?;
            return Ok(wanted);
        }
        let block = self.find(index)?;
        if block.size == 0 {
            into.fill(0);
        } else if !block.compressed && usize::try_from(block.size).ok() != Some(length) {
            return Err(self.fail(index, "its stored size is not its length"));
        } else {
            self.fs.read_stored(block, length, within, into)?;
        }
        Ok(wanted)
    }

    fn read_fragment(
        &self,
        index: u64,
        length: usize,
        within: usize,
        into: &mut [u8],
    ) -> Result<(), Error> {
        let fragment = self
            .fragment
            .ok_or_else(|| self.fail(index, "there is no fragment"))?;
        let entry = self.fs.fragment(fragment.index)?;
        let block = Stored::new(entry.start, entry.size);
        if block.size == 0 || u64::from(block.size) > self.fs.block_size() {
            return Err(self.fail(index, "its fragment's size is not within a block"));
        }
        let offset = usize::try_from(fragment.offset).unwrap_or(usize::MAX);
        let end = offset.saturating_add(length) as u64;
        let room = if block.compressed {
            self.fs.block_size()
        } else {
            block.size.into()
        };
        if end > room {
            return Err(self.fail(index, "it leaves its fragment"));
        }
        self.fs
            .read_stored(block, usize::MAX, offset.saturating_add(within), into)
    }

    /// Returns the position of block `index` of the list.
    fn find(&mut self, index: u64) -> Result<Stored, Error> {
        let mut walk = match self.walk.take() {
            Some(walk) if walk.next <= index => walk,
            _ => self.walk_from(index),
        };
        loop {
            if walk.next % STEP == 0 && walk.next > 0 {
                self.keep(&walk);
            }
            let block = Stored::new(walk.start, walk.cursor.u32()?);
            let end = walk.start.checked_add(block.size.into());
            let fits = u64::from(block.size) <= self.fs.block_size()
                && end.is_some_and(|end| end <= self.fs.source.size());
            let (true, Some(end)) = (fits, end) else {
                return Err(self.fail(walk.next, "it leaves the image or its block"));
            };
            let found = walk.next == index;
            walk.next = walk.next.saturating_add(1);
            walk.start = end;
            if found {
                self.walk = Some(walk);
                return Ok(block);
            }
        }
    }

    /// Begins a walk at the last known checkpoint before or at block `index`.
    fn walk_from(&self, index: u64) -> Walk<'a> {
        let wanted = usize::try_from(index / STEP).unwrap_or(usize::MAX);
        let (number, checkpoint) = self.checkpoint(wanted).unwrap_or((0, self.first));
        Walk {
            cursor: self.fs.inode_cursor_at(checkpoint.list),
            next: (number as u64).saturating_mul(STEP),
            start: checkpoint.start,
        }
    }

    /// Returns the last known checkpoint up to number `wanted`, from 1, and its number.
    fn checkpoint(&self, wanted: usize) -> Option<(usize, Checkpoint)> {
        if wanted == 0 {
            return None;
        }
        let mut files = self
            .fs
            .data
            .checkpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = files.get(&self.file.reference.raw())?;
        let number = wanted.min(known.len());
        Some((number, *known.get(number.checked_sub(1)?)?))
    }

    /// Remembers the state of the walk as a checkpoint, if it is the next one.
    fn keep(&self, walk: &Walk<'_>) {
        let checkpoint = Checkpoint {
            list: walk.cursor.position(),
            start: walk.start,
        };
        let mut files = self
            .fs
            .data
            .checkpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = files.get_or_insert_mut(self.file.reference.raw(), Vec::new);
        if (known.len() as u64).saturating_add(1).saturating_mul(STEP) == walk.next {
            known.push(checkpoint);
        }
    }

    fn fail(&self, index: u64, reason: &'static str) -> Error {
        Error::Block {
            reference: self.file.reference,
            index,
            reason,
        }
    }
}

/// The position of a fragment block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FragmentEntry {
    pub(crate) start: u64,
    pub(crate) size: u32,
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
        // The blocks lie somewhere after the directories; each is checked separately.
        let blocks = superblock.directory_table..array;
        let mut cursor = table::entry(&self.metadata, &self.source, blocks, index, 16)?;
        Ok(FragmentEntry {
            start: cursor.u64()?,
            size: cursor.u32()?,
        })
    }
}
