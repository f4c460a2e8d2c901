//! Signatures of SIFs by OpenPGP keys: they show that an image has not been changed.
//!
//! A signature is a clear-signed text (`statement`) with the digests of a group's objects and of
//! their descriptors. It is itself an object of the SIF. The format is that of
//! `github.com/sylabs/sif`, package `integrity`: Apptainer's signatures can be verified here, and
//! Apptainer can verify ours.

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

/// The objects to sign or verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All groups.
    All,
    /// One group.
    Group(u32),
    /// One object.
    Object(u32),
}
