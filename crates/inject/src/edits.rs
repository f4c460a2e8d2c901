//! Edits to a container, as the Container Device Interface names them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to add to a container: `containerEdits` of the [CDI specification], 1.0, and the loader's
/// cache, for which that has no word.
///
/// [CDI specification]: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edits {
    /// `deviceNodes`: host nodes to have at the same path inside.
    pub device_nodes: Vec<PathBuf>,
    /// `mounts`: files and directories to bind.
    pub mounts: Vec<Mount>,
    /// The content of `/etc/ld.so.cache`, by which the libraries are found; `None` where the image's
    /// loader reads none, and `LD_LIBRARY_PATH` has to do.
    pub library_cache: Option<Vec<u8>>,
    /// `env`: variables.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// `hooks`.
    #[serde(default)]
    pub hooks: Vec<cdi::Hook>,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mount {
    /// The path on the host.
    pub host_path: PathBuf,
    /// The path in the container.
    pub container_path: PathBuf,
    /// How, besides what holds for all that is injected.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Mount {
    /// A mount with nothing special about it.
    #[must_use]
    pub fn new(host_path: PathBuf, container_path: PathBuf) -> Self {
        Self {
            host_path,
            container_path,
            options: Vec::new(),
        }
    }

    /// One that nobody writes through.
    pub(crate) fn read_only(host_path: PathBuf, container_path: PathBuf) -> Self {
        Self {
            options: vec!["ro".to_owned()],
            ..Self::new(host_path, container_path)
        }
    }
}

impl Edits {
    /// Returns whether there is nothing to add.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.device_nodes.is_empty() && self.mounts.is_empty()
    }
}
