//! From a request, a root file system and edits to an OCI bundle: `config.json` and the files that
//! it mounts from beside it.
//!
//! Pure: it reads the image through [`image::RootFs`] and is told everything else. What it writes
//! follows the [OCI runtime specification], 1.2.
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
