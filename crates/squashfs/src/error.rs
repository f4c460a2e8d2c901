//! What can go wrong, one variant per step.

use std::io;
use std::sync::Arc;

use crate::compression::Compression;
use crate::inode::InodeRef;

/// A failure to read an image, or to unpack it.
///
/// Positions are bytes from the start of the file system, not of the file it lies in. Cloned to
/// everyone who waited for the same block, hence the shared sources.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The size of the image's file cannot be found out.
    #[error("image size: {0}")]
    ImageSize(#[source] Arc<io::Error>),
    /// The magic bytes are missing.
    #[error("superblock: no squashfs at offset {offset}")]
    NotSquashfs {
        /// Where the file system was expected, in bytes from the start of the file.
        offset: u64,
    },
    /// The file ends before the file system does.
    #[error("truncated: the file system needs {needed} bytes, the file has {available}")]
    Truncated {
        /// Bytes that the superblock announces, or the superblock itself takes.
        needed: u64,
        /// Bytes that there are from the offset on.
        available: u64,
    },
    /// Another version of the format.
    #[error("superblock: version {major}.{minor} is not 4.0")]
    Version {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// A block size outside the format's range.
    #[error("superblock: block size {0} is not a power of two between 4 KiB and 1 MiB")]
    BlockSize(u32),
    /// The two records of the block size disagree.
    #[error("superblock: block size {size} is not 2 to the power of {log}")]
    BlockLog {
        /// Block size in bytes.
        size: u32,
        /// Its logarithm as recorded.
        log: u16,
    },
    /// A compressor nobody knows.
    #[error("superblock: unknown compressor {0}")]
    UnknownCompressor(u16),
    /// A compressor that the format names and that is not supported here.
    #[error("superblock: compressor {0} is not supported")]
    UnsupportedCompressor(&'static str),
    /// Two tables overlap, or one leaves the file system.
    #[error("superblock: the {table} at {start} does not fit before {limit}")]
    TableBounds {
        /// Which table.
        table: &'static str,
        /// Its start.
        start: u64,
        /// Where the next one begins.
        limit: u64,
    },
    /// A count in the superblock that the image has no room for.
    #[error("superblock: {count} {what} are more than the image holds")]
    Count {
        /// What is counted.
        what: &'static str,
        /// The count found.
        count: u64,
    },
    /// The root inode is something else.
    #[error("the root inode is not a directory")]
    RootNotDirectory,
    /// The operating system refused a read of the image.
    #[error("read {length} bytes at {position}: {source}")]
    Read {
        /// Where the read began.
        position: u64,
        /// How many bytes were wanted.
        length: usize,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// A metadata block is malformed, or missing.
    #[error("metadata at {position}: {reason}")]
    Metadata {
        /// Where the block begins.
        position: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A compressed block does not decompress.
    #[error("{compression} block at {position}: {reason}")]
    Decompress {
        /// The image's compressor.
        compression: Compression,
        /// Where the block begins.
        position: u64,
        /// What the decompressor said.
        reason: Arc<str>,
    },
    /// An inode is malformed.
    #[error("inode {reference}: {reason}")]
    Inode {
        /// Which inode.
        reference: InodeRef,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A directory's listing is malformed.
    #[error("directory {reference}: {reason}")]
    Directory {
        /// The directory's inode.
        reference: InodeRef,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A block of file contents is malformed.
    #[error("contents of inode {reference}, block {index}: {reason}")]
    Block {
        /// The file's inode.
        reference: InodeRef,
        /// Which of the file's blocks, from 0.
        index: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry of a lookup table is malformed, or is not there.
    #[error("{table} entry {index}: {reason}")]
    Table {
        /// Which table.
        table: &'static str,
        /// Which entry.
        index: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A directory was wanted.
    #[error("inode {0} is not a directory")]
    NotDirectory(InodeRef),
    /// A regular file was wanted.
    #[error("inode {0} is not a regular file")]
    NotFile(InodeRef),
    /// A symbolic link was wanted.
    #[error("inode {0} is not a symbolic link")]
    NotSymlink(InodeRef),
    /// A path led through too many symbolic links.
    #[error("{0}: too many symbolic links")]
    SymlinkLoop(String),
    /// Unpacking: a system call failed.
    #[error("extract {path}: {step}: {source}")]
    Extract {
        /// Path within the image.
        path: String,
        /// The system call, or what it was for.
        step: &'static str,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// Unpacking: the image's tree is no tree.
    #[error("extract {path}: {reason}")]
    Tree {
        /// Path within the image.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}
