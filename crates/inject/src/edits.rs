//! Edits to a container, as the Container Device Interface names them.

use std::path::PathBuf;

/// What to add to a container: `containerEdits` of the [CDI specification], 1.0.
///
/// [CDI specification]: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// `deviceNodes`: host nodes to have at the same path inside.
    pub device_nodes: Vec<PathBuf>,
    /// `mounts`: files and directories to bind.
    pub mounts: Vec<Mount>,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    /// The path on the host.
    pub host_path: PathBuf,
    /// The path in the container.
    pub container_path: PathBuf,
}

impl Edits {
    /// Returns whether there is nothing to add.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.device_nodes.is_empty() && self.mounts.is_empty()
    }
}
