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
const CANDIDATES: [&str; 6] = ["/root", "/var/empty", "/mnt", "/media", "/srv", "/opt"];

/// What a container gets of the kernel; never covered.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

impl Layout {
    /// Chooses the directory, so that it hides none of the paths in `needed`: one of the usual, or on
    /// a host that has none of them any other at the top.
    ///
    /// # Errors
    ///
    /// Fails when no directory is left.
    pub fn choose(needed: &[&Path]) -> Result<Self, Error> {
        let needed: Vec<PathBuf> = needed
            .iter()
            .map(|path| fs::canonicalize(path).unwrap_or_else(|_| (*path).to_owned()))
            .collect();
        let is_free = |candidate: &PathBuf| {
            candidate.is_dir()
                && candidate != Path::new("/")
                && !KERNEL.iter().any(|kernel| candidate.starts_with(kernel))
                && !needed.iter().any(|path| path.starts_with(candidate))
        };
        let directory = CANDIDATES
            .iter()
            .filter_map(|candidate| fs::canonicalize(candidate).ok())
            .find(&is_free)
            .or_else(|| top().into_iter().find(&is_free))
            .ok_or(Error::NoDirectory)?;
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

/// The directories at the top of the host's tree, real ones only.
fn top() -> Vec<PathBuf> {
    let entries = fs::read_dir("/").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
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
        let usual: Vec<&Path> = CANDIDATES.iter().map(Path::new).collect();
        let other = Layout::choose(&usual).unwrap();
        assert!(top().contains(&other.directory), "{other:?}");
        let mut all = top();
        all.extend(CANDIDATES.map(PathBuf::from));
        let all: Vec<&Path> = all.iter().map(PathBuf::as_path).collect();
        assert!(matches!(Layout::choose(&all), Err(Error::NoDirectory)));
    }
}
