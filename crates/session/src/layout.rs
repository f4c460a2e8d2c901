//! Where a session has its things.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// The session's directory: an existing one of the host's that a file system of the session covers,
/// in the session's own mount namespace only. Nothing is written to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    directory: PathBuf,
}

/// Directories that nearly every host has and that an ordinary user has no business in; the first
/// that nothing of the request lies in is taken.
const CANDIDATES: [&str; 8] = [
    "/root",
    "/var/empty",
    "/mnt",
    "/media",
    "/srv",
    "/opt",
    "/var/tmp",
    "/tmp",
];

impl Layout {
    /// Chooses the directory, so that it hides none of the paths in `needed`.
    ///
    /// # Errors
    ///
    /// Fails when no candidate is left.
    pub fn choose(needed: &[&Path]) -> Result<Self, Error> {
        let needed: Vec<PathBuf> = needed
            .iter()
            .map(|path| fs::canonicalize(path).unwrap_or_else(|_| (*path).to_owned()))
            .collect();
        let directory = CANDIDATES
            .iter()
            .filter_map(|candidate| fs::canonicalize(candidate).ok())
            .filter(|candidate| candidate.is_dir() && candidate != Path::new("/"))
            .find(|candidate| !needed.iter().any(|path| path.starts_with(candidate)))
            .ok_or_else(|| Error::NoDirectory {
                tried: CANDIDATES.join(", "),
            })?;
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

    pub(crate) fn mount_points(&self) -> PathBuf {
        self.directory.join("mount-points")
    }

    /// Returns the path that the bundle names as the container's cgroup.
    #[must_use]
    pub fn cgroup(&self) -> PathBuf {
        PathBuf::from("/container")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_nothing_that_is_needed() {
        let first = Layout::choose(&[]).unwrap();
        let inside = first.directory().join("some/file");
        let second = Layout::choose(&[&inside]).unwrap();
        assert_ne!(first.directory(), second.directory());
        let all: Vec<&Path> = CANDIDATES.iter().map(Path::new).collect();
        assert!(matches!(
            Layout::choose(&all),
            Err(Error::NoDirectory { .. })
        ));
    }
}
