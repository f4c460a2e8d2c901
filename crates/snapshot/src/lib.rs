//! The changes of a directory tree since an earlier moment, as a layer: a tar with whiteouts
//! (image-spec, layer.md).
//!
//! A tree is never trusted: no link in it leads out of it. Nothing changes the tree meanwhile.

#![forbid(unsafe_code)]

mod apply;
mod changes;
mod index;
#[cfg(test)]
mod tests;

pub use apply::apply;
pub use changes::{Changes, hash_file};
pub use index::Index;

/// The prefix of the name that removes a file (image-spec, layer.md).
const WHITEOUT: &str = ".wh.";
/// The prefix of the PAX keys of extended attributes (star(5)).
const ATTRIBUTE: &str = "SCHILY.xattr.";
/// The extended attributes that are kept: those of users.
const KEPT: &str = "user.";
/// The PAX key of the modification time, with its fraction (pax(1)).
const TIME: &str = "mtime";
