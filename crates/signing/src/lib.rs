//! Signatures of SIFs, by OpenPGP keys: who says that an image is as it was.
//!
//! A signature is a clear-signed text (`statement`) that holds the digests of a group's objects and of
//! what the SIF says of each; it is an object of the SIF itself. The form is that of
//! `github.com/sylabs/sif`, package `integrity`, so that Apptainer's are read, and ours by it.

#![forbid(unsafe_code)]

mod error;
mod key;
mod keyring;
mod statement;
mod verify;

pub use error::Error;
pub use key::{Algorithm, Key, Secret};
pub use keyring::Keyring;
pub use verify::{Verified, sign, verify};

/// Which objects are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All groups.
    All,
    /// One group.
    Group(u32),
    /// One object.
    Object(u32),
}
