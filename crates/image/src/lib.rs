//! Opening an image: a path becomes a root file system, whose files can be read before it is
//! mounted.
//!
//! The type is determined by the content, never by the name. Images are not trusted: a path inside
//! an image is resolved within it, even if its links point outside.

#![forbid(unsafe_code)]

mod error;
mod inspect;
mod open;
mod platform;
mod root_fs;

pub use error::Error;
pub use inspect::{App, Attributes, MAX_FILE, SmallFiles};
pub use open::{Image, Medium, is_known};
pub use platform::host_architecture;
pub use root_fs::{Embedded, RootFs, Squashed};
