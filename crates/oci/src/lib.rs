//! OCI images: where their blobs are, and their layers as one tree.
//!
//! Everything in an image is hostile. A blob is what its digest says or an error; a name in a layer leads
//! nowhere but into the tree; sizes are believed only as far as the bytes go.

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
pub use merge::{Merged, Place};
pub use slice::Slice;
pub use write::Flat;
