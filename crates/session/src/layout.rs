//! The paths of a session's files.

use std::path::{Path, PathBuf};

use crate::Error;

/// The session's directory: an existing directory of the host that a file system of the session
/// covers, in the session's own mount namespace only. Nothing is written to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// Chooses the directory so that it hides none of the paths in `needed`.
    ///
    /// # Errors
    ///
    /// Fails when no directory is left.
    pub fn choose(needed: &[&Path]) -> Result<Self, Error> {
        let directory = engine::free_directory(needed).ok_or(Error::NoDirectory)?;
        Ok(Self { directory })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the directory of the container's root.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// Returns the directory of the files that are made for the container.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.directory.join("files")
    }

    /// Returns the OCI bundle's directory.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.directory.join("bundle")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.directory.join("image")
    }

    /// Returns the directory at which an image is mounted whose files are bound, by its number.
    #[must_use]
    pub fn data(&self, number: usize) -> PathBuf {
        self.directory.join(format!("data-{number}"))
    }

    pub(crate) fn layer(&self, number: usize) -> PathBuf {
        self.directory.join(format!("layer-{number}"))
    }

    pub(crate) fn changes(&self) -> PathBuf {
        self.directory.join("changes")
    }

    pub(crate) fn mount_points(&self) -> PathBuf {
        self.directory.join("mount-points")
    }

    /// Returns the path of the container's cgroup in the bundle's specification.
    #[must_use]
    pub fn cgroup(&self) -> PathBuf {
        PathBuf::from("/container")
    }
}
