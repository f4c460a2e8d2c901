//! What an image is: a path becomes a root file system that can be mounted, and read before it is.
//!
//! The type is found from the content, never from the name. Everything in an image is hostile: a
//! path inside it is resolved within it, whatever its links say.

#![forbid(unsafe_code)]

mod cache;
mod error;
mod inspect;
mod obtain;
mod open;
mod pack;
mod platform;
mod remote;
mod rootfs;
mod source;

pub use cache::{Cache, Kept, Kind, Selection};
pub use error::Error;
pub use inspect::{App, Attributes};
pub use obtain::{Access, Opened, SIF_LAYER};
pub use open::{Image, Medium};
pub use pack::{Build, BuildError, Compression, whole_content, whole_directory, whole_file};
pub use platform::host_platform;
pub use rootfs::{Embedded, RootFs, Squashed};
pub use source::{Source, SourceError};
