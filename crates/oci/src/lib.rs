//! OCI images: access to their blobs, and their layers merged into one tree.
//!
//! An image is not trusted. A blob has its digest or is an error; a name in a layer cannot leave
//! the tree; a stated size is believed only as far as bytes follow.

#![forbid(unsafe_code)]

mod archive;
mod blob;
mod config;
mod error;
mod image;
mod layout;
mod links;
mod manifest;
mod merge;
mod metered;
mod slice;
mod sparse;
mod tree;
mod write;

pub use archive::Archive;
pub use blob::{Blobs, Digest, Hasher, LONGEST_DOCUMENT};
pub use config::{Config, Execution};
pub use error::Error;
pub use image::{Image, Layer, Platform, artifact, descriptor};
pub use layout::Layout;
pub use merge::{Merged, ResolvedName};
pub use slice::Slice;
pub use write::Flat;
