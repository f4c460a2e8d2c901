//! The mounts of a container: their options, making them in its root file system, its devices, and
//! the change of root.
//!
//! Everything goes by open files. A mount point is opened once, with no link leading out of the
//! root ([openat2(2)], `RESOLVE_IN_ROOT`), looked at, and mounted on. So nobody who can write to the
//! root or to a volume can lead a mount elsewhere meanwhile.
//!
//! [openat2(2)]: https://man7.org/linux/man-pages/man2/openat2.2.html

#![forbid(unsafe_code)]

mod copy;
mod devices;
mod error;
mod make;
mod mount;
mod options;
mod paths;
mod root;

pub use devices::Device;
pub use error::Error;
pub use make::{Hierarchy, Sources};
pub use mount::Mount;
pub use options::words;
pub use root::{ChangeOfRoot, Root, open_root};
