//! Reads squashfs 4.0 images, serves them by FUSE and unpacks them, all in the caller's process.
//!
//! The reader is lazy: opening checks the superblock, the id table and the root directory, whatever
//! the size of the image; everything else is found by `pread` when it is asked for and kept in
//! bounded caches. Images are untrusted: whatever their bytes, the answer is data or an [`Error`].
//!
//! On disk: the kernel's `fs/squashfs/squashfs_fs.h` and `Documentation/filesystems/squashfs.rst`.

#![forbid(unsafe_code)]

mod cache;
mod compression;
mod data;
mod directory;
mod error;
mod extract;
mod filesystem;
mod inode;
mod metadata;
mod requests;
mod resolve;
mod serve;
mod source;
mod superblock;
mod table;
mod xattr;

pub use compression::Compression;
pub use directory::{DirEntry, ReadDir};
pub use error::Error;
pub use extract::{Skipped, extract};
pub use filesystem::Filesystem;
pub use inode::{Inode, InodeRef, Kind};
pub use serve::{ServeOptions, serve};
pub use superblock::{Superblock, is_squashfs};
