//! Reads squashfs 4.0 images, serves them over FUSE and unpacks them, all in the caller's process.
//!
//! The reader is lazy: opening checks only the superblock, the id table and the root directory, so
//! its cost does not depend on the size of the image. Everything else is read by `pread` on demand
//! and kept in bounded caches. Images are not trusted: for any bytes, the result is data or an
//! [`Error`].
//!
//! The on-disk format is described in the kernel's `fs/squashfs/squashfs_fs.h` and
//! `Documentation/filesystems/squashfs.rst`.

#![forbid(unsafe_code)]

mod block_cache;
mod cache;
mod compression;
mod data;
mod directory;
mod error;
mod extract;
mod filesystem;
mod format;
mod inode;
mod metadata;
mod requests;
mod resolve;
mod serve;
mod source;
mod superblock;
mod table;
mod xattr;
mod xattr_table;

pub use compression::Compression;
pub use directory::{DirEntry, ReadDir};
pub use error::Error;
pub use extract::{Skipped, extract};
pub use filesystem::Filesystem;
pub use format::{InodeRef, Kind};
pub use inode::Inode;
pub use serve::{ServeOptions, serve};
pub use superblock::{Superblock, is_squashfs};
