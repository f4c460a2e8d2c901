//! The libraries that a program gets for its networks, and the networks that it reaches.

use std::path::{Path, PathBuf};

use rootfs::Files;
use serde::{Deserialize, Serialize};

use super::network::Kind;
use crate::host_libraries::HostLibraries;

/// A program that is to reach a network.
#[derive(Debug, Default, Clone, Copy)]
pub struct Program<'a> {
    /// The program's path, and the file system that it is on.
    pub file: Option<(&'a dyn Files, &'a Path)>,
    /// Libraries of the host that are injected already: its MPI.
    pub host_libraries: Option<&'a HostLibraries>,
    /// Directories of the host's libraries, as modules put them on `LD_LIBRARY_PATH`.
    pub directories: &'a [PathBuf],
}

/// The host's libraries that an image lacks to reach the host's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The libraries, and their mounts.
    pub host_libraries: HostLibraries,
    /// The names of the injected libraries.
    pub names: Vec<String>,
    /// The networks.
    pub networks: Vec<Reached>,
}

/// Whether programs of an image reach a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The kind of network.
    pub kind: Kind,
    /// Descriptions of the libraries that reach the network. Empty if only a program that supports
    /// the network itself would reach it.
    pub by: Vec<String>,
    /// The reason why the network is not reached, for the user. Always set if `by` is empty.
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
    /// Whether the network is reached.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.reason.is_none()
    }
}
