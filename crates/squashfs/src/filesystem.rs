//! An opened image: its superblock, the bounds of its tables, and its caches.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use crate::block_cache::Data;
use crate::compression::Compression;
use crate::error::Error;
use crate::format::InodeRef;
use crate::metadata::{Cursor, Metadata, Position};
use crate::source::Source;
use crate::superblock::{self, Superblock};
use crate::table;
use crate::xattr_table::XattrTable;

/// The lz4 format that squashfs uses (`LZ4_LEGACY`): raw blocks.
const LZ4_LEGACY: u32 = 1;

/// A squashfs 4.0 file system, read lazily.
///
/// Threads share it through a reference, because every method only reads.
pub struct Filesystem {
    pub(crate) source: Arc<Source>,
    pub(crate) metadata: Metadata,
    pub(crate) data: Data,
    pub(crate) xattrs: Option<XattrTable>,
    superblock: Superblock,
    ids: Vec<u32>,
    directories: Range<u64>,
}

impl Filesystem {
    /// Opens the file system that begins at byte `offset` of `file`.
    ///
    /// `size` is the largest number of bytes it may occupy, if the caller knows it (a partition's
    /// size). Without `size` it may extend to the end of the file. Reads the superblock, the starts
    /// of the tables and the ids, so the cost does not depend on the image's size.
    ///
    /// # Errors
    ///
    /// No squashfs 4.0 at this offset, an unsupported compressor, a file that ends before the file
    /// system, or tables that overlap.
    pub fn open(file: File, offset: u64, size: Option<u64>) -> Result<Self, Error> {
        let source = Source::new(file, offset, size)?;
        let available = source.size();
        let mut raw = [0; superblock::SIZE];
        if available < raw.len() as u64 {
            return Err(Error::Truncated {
                needed: raw.len() as u64,
                available,
            });
        }
        source.read(0, &mut raw)?;
        let superblock = Superblock::parse(&raw, offset, available)?;
        let source = Arc::new(source.cut(superblock.bytes_used));
        let metadata = Metadata::new(Arc::clone(&source), superblock.compression);
        check_compressor(&superblock, &metadata)?;

        // As in the kernel, from the last table to the first: each ends at the start of the next.
        let mut limit = superblock.bytes_used;
        let mut xattrs = None;
        if let Some(start) = superblock.xattr_table {
            let table = XattrTable::open(&source, start, limit)?;
            limit = table.start();
            xattrs = Some(table);
        }
        let blocks = table::start("id table", &source, superblock.id_table, limit)?;
        let ids = table::ids(&metadata, &source, &superblock, blocks)?;
        limit = blocks;
        for (name, start) in [
            ("export table", superblock.export_table),
            ("fragment table", superblock.fragment_table),
        ] {
            if let Some(start) = start {
                limit = table::start(name, &source, start, limit)?;
            }
        }
        let start = superblock.directory_table;
        if start > limit {
            return Err(Error::TableBounds {
                table: "directory table",
                start,
                limit,
            });
        }
        let data = Data::new(superblock.block_size);
        let directories = start..limit;
        Ok(Self {
            source,
            metadata,
            data,
            xattrs,
            superblock,
            ids,
            directories,
        })
    }

    /// Returns the superblock.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Returns the size of a block of file contents in bytes.
    pub(crate) fn block_size(&self) -> u64 {
        self.superblock.block_size.into()
    }

    pub(crate) fn id(&self, index: u16) -> Option<u32> {
        self.ids.get(usize::from(index)).copied()
    }

    pub(crate) fn inode_cursor(&self, reference: InodeRef) -> Cursor<'_> {
        let block = self
            .superblock
            .inode_table
            .saturating_add(reference.block());
        self.inode_cursor_at(Position {
            block,
            offset: reference.offset(),
        })
    }

    pub(crate) fn inode_cursor_at(&self, at: Position) -> Cursor<'_> {
        let table = self.superblock.inode_table..self.superblock.directory_table;
        self.metadata.cursor(table, at.block, at.offset)
    }

    pub(crate) fn directory_cursor(&self, block: u32, offset: u16) -> Cursor<'_> {
        let block = self.directories.start.saturating_add(block.into());
        self.directory_cursor_at(Position {
            block,
            offset: usize::from(offset),
        })
    }

    pub(crate) fn directory_cursor_at(&self, at: Position) -> Cursor<'_> {
        self.metadata
            .cursor(self.directories.clone(), at.block, at.offset)
    }
}

impl fmt::Debug for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filesystem")
            .field("superblock", &self.superblock)
            .finish_non_exhaustive()
    }
}

/// Checks the options of lz4, the only compressor whose format has a version.
fn check_compressor(superblock: &Superblock, metadata: &Metadata) -> Result<(), Error> {
    if superblock.compression != Compression::Lz4 || !superblock.has_compressor_options() {
        return Ok(());
    }
    let start = superblock::SIZE as u64;
    let version = metadata
        .cursor(start..superblock.inode_table, start, 0)
        .u32()?;
    if version == LZ4_LEGACY {
        Ok(())
    } else {
        Err(Error::UnsupportedCompressor(
            "lz4 (other than legacy blocks)",
        ))
    }
}
