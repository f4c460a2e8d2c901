//! Edits of a container, in the terms of the Container Device Interface.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Edits of a container: `containerEdits` of the [CDI specification], 1.0, and the loader's cache,
/// for which CDI has no field.
///
/// [CDI specification]: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edits {
    /// `deviceNodes`: nodes of the host, at the same paths inside.
    pub device_nodes: Vec<PathBuf>,
    /// `mounts`: files and directories to bind.
    pub mounts: Vec<Mount>,
    /// Content of `/etc/ld.so.cache`, which leads to the libraries. `None` if the image's loader
    /// reads no cache; then only `LD_LIBRARY_PATH` leads to them.
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
    /// Options, besides those that all injected mounts have.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Mount {
    /// Returns a mount without options.
    #[must_use]
    pub fn new(host_path: PathBuf, container_path: PathBuf) -> Self {
        Self {
            host_path,
            container_path,
            options: Vec::new(),
        }
    }

    /// Returns a read-only mount.
    pub(crate) fn read_only(host_path: PathBuf, container_path: PathBuf) -> Self {
        Self {
            options: vec!["ro".to_owned()],
            ..Self::new(host_path, container_path)
        }
    }
}

impl Edits {
    /// Adds device nodes, each once.
    #[must_use]
    pub fn with_nodes(mut self, nodes: impl IntoIterator<Item = PathBuf>) -> Self {
        for node in nodes {
            if !self.device_nodes.contains(&node) {
                self.device_nodes.push(node);
            }
        }
        self
    }
}
