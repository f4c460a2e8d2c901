//! Turns a request, a root file system and edits into an OCI bundle: `config.json` and the files
//! that are mounted from beside it.
//!
//! This crate is pure: it reads the image through [`rootfs::Files`], and gets all other facts as
//! arguments. Its output follows the [OCI runtime specification], 1.2.
//!
//! [OCI runtime specification]: https://github.com/opencontainers/runtime-spec/blob/main/config.md

#![forbid(unsafe_code)]

mod account;
mod bind;
mod error;
mod etc;
mod mounts;
mod request;
mod spec;

pub use account::{Account, Group};
pub use bind::{Bind, parse_binds};
pub use error::Error;
pub use request::{
    Bundle, Device, GeneratedFile, HostFacts, MountPoint, Paths, Process, Request, Warning,
};
pub use spec::build;
