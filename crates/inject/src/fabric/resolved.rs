//! What a program gets for its networks, and which of them it reaches.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tree::Files;

use super::network::Kind;
use crate::host_libraries::HostLibraries;

/// What is known of the program that shall reach a network.
#[derive(Default, Clone, Copy)]
#[allow(missing_debug_implementations, reason = "a file system has none")]
pub struct Program<'a> {
    /// Where it lies, and of which file system.
    pub file: Option<(&'a dyn Files, &'a Path)>,
    /// Its `LD_LIBRARY_PATH`.
    pub library_path: Option<&'a OsStr>,
    /// What of the host's is put in already: its MPI.
    pub host_libraries: Option<&'a HostLibraries>,
    /// Directories of the host's libraries, as modules put them on `LD_LIBRARY_PATH`.
    pub directories: &'a [PathBuf],
}

/// What an image lacks to reach the host's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// What is injected, and how.
    pub host_libraries: HostLibraries,
    /// What it is called.
    pub names: Vec<String>,
    /// The networks.
    pub networks: Vec<Reached>,
}

/// Whether programs of an image reach a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Which.
    pub kind: Kind,
    /// By what, in words; nothing where only a program that knows the network itself would.
    pub by: Vec<String>,
    /// Why not, in words, where it is not reached: always where it is by nothing.
    pub reason: Option<String>,
}

impl Resolved {
    /// Whether any of the networks is reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.networks.iter().any(Reached::is_reached)
    }
}

impl Reached {
    /// Whether it is reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.reason.is_none()
    }
}
