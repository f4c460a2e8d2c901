//! Errors, one variant for each step.

use std::io;
use std::sync::Arc;

use crate::format::InodeRef;

/// A failure to read an image, or to unpack it.
///
/// Positions are bytes from the start of the file system, not of the file that contains it. An
/// error is cloned to all threads that waited for the same block, so its sources are shared.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The size of the image's file cannot be read.
    #[error("image size")]
    ImageSize(#[source] Arc<io::Error>),
    /// The magic bytes are missing.
    #[error("superblock: no squashfs at offset {offset}")]
    NotSquashfs {
        /// The expected position of the file system, in bytes from the start of the file.
        offset: u64,
    },
    /// The file ends before the file system does.
    #[error("truncated: the file system needs {needed} bytes, the file has {available}")]
    Truncated {
        /// Number of bytes that the superblock states, or the size of the superblock itself.
        needed: u64,
        /// Number of bytes from the offset to the end of the file.
        available: u64,
    },
    /// The format has another version.
    #[error("superblock: version {major}.{minor} is not 4.0")]
    Version {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// The block size is outside of the format's range.
    #[error("superblock: block size {0} is not a power of two between 4 KiB and 1 MiB")]
    BlockSize(u32),
    /// The two fields for the block size disagree.
    #[error("superblock: block size {size} is not 2 to the power of {log}")]
    BlockLog {
        /// Block size in bytes.
        size: u32,
        /// Its logarithm, according to the superblock.
        log: u16,
    },
    /// The compressor is unknown.
    #[error("superblock: unknown compressor {0}")]
    UnknownCompressor(u16),
    /// The format has this compressor, but it is not supported here.
    #[error("superblock: compressor {0} is not supported")]
    UnsupportedCompressor(&'static str),
    /// Two tables overlap, or a table lies outside of the file system.
    #[error("superblock: the {table} at {start} does not fit before {limit}")]
    TableBounds {
        /// The name of the table.
        table: &'static str,
        /// The start of the table.
        start: u64,
        /// The start of the next table.
        limit: u64,
    },
    /// A count in the superblock is larger than the image allows.
    #[error("superblock: {count} {what} are more than the image holds")]
    Count {
        /// The things that are counted.
        what: &'static str,
        /// The count in the superblock.
        count: u64,
    },
    /// The root inode is not a directory.
    #[error("the root inode is not a directory")]
    RootNotDirectory,
    /// The operating system failed to read the image.
    #[error("read {length} bytes at {position}")]
    Read {
        /// The position of the read.
        position: u64,
        /// Number of bytes to read.
        length: usize,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// A metadata block is malformed or missing.
    #[error("metadata at {position}: {reason}")]
    Metadata {
        /// The position of the block.
        position: u64,
        /// Why it is malformed.
        reason: &'static str,
    },
    /// A compressed block cannot be decompressed.
    #[error("{compression} block at {position}: {reason}")]
    Decompress {
        /// The name of the image's compressor.
        compression: &'static str,
        /// The position of the block.
        position: u64,
        /// The decompressor's message.
        reason: Arc<str>,
    },
    /// An inode is malformed.
    #[error("inode {reference}: {reason}")]
    Inode {
        /// The inode.
        reference: InodeRef,
        /// Why it is malformed.
        reason: &'static str,
    },
    /// A directory's listing is malformed.
    #[error("directory {reference}: {reason}")]
    Directory {
        /// The directory's inode.
        reference: InodeRef,
        /// Why it is malformed.
        reason: &'static str,
    },
    /// A block of file contents is malformed.
    #[error("contents of inode {reference}, block {index}: {reason}")]
    Block {
        /// The file's inode.
        reference: InodeRef,
        /// The number of the block in the file, from 0.
        index: u64,
        /// Why it is malformed.
        reason: &'static str,
    },
    /// An entry of a lookup table is malformed or missing.
    #[error("{table} entry {index}: {reason}")]
    Table {
        /// The name of the table.
        table: &'static str,
        /// The number of the entry.
        index: u32,
        /// Why it is malformed.
        reason: &'static str,
    },
    /// The inode is not a directory.
    #[error("inode {0} is not a directory")]
    NotDirectory(InodeRef),
    /// The inode is not a regular file.
    #[error("inode {0} is not a regular file")]
    NotFile(InodeRef),
    /// The inode is not a symbolic link.
    #[error("inode {0} is not a symbolic link")]
    NotSymlink(InodeRef),
    /// A path leads through too many symbolic links.
    #[error("{0}: too many symbolic links")]
    SymlinkLoop(String),
    /// Unpacking: a system call failed.
    #[error("extract {path}: {step}")]
    Extract {
        /// The path within the image.
        path: String,
        /// The system call, or its purpose.
        step: &'static str,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// Unpacking: the image's directories do not form a tree.
    #[error("extract {path}: {reason}")]
    Tree {
        /// The path within the image.
        path: String,
        /// Why they do not.
        reason: &'static str,
    },
}
