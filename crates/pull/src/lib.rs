//! Obtains an image by its name, through the cache: from a registry, a library, the web, a daemon
//! or an archive.

#![forbid(unsafe_code)]

mod access;
mod cached_blobs;
mod error;
mod platform;
mod source;

pub use access::{Access, Opened, SIF_LAYER};
pub use error::Error;
pub use platform::host_platform;
pub use source::{Source, SourceError};
