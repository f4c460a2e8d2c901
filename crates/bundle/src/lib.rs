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
mod directories;
mod error;
mod etc;
mod fit;
mod mount_spec;
mod mounts;
mod planned;
mod request;
mod spec;

pub use account::{Account, Group};
pub use bind::{Bind, DataImage, clean, parse_binds};
pub use directories::{Content, DefaultMount, Directories, Scratch};
pub use error::Error;
pub use mount_spec::{MountSpec, parse_mount};
pub use request::{
    APT_CONFIG, Bundle, Device, GeneratedFile, HostFacts, MountPoint, Paths, Process, Request,
    ShownPart, Warning, Writable,
};
pub use spec::build;
