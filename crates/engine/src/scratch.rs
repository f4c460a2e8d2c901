//! A directory on which to mount things of our own, in a mount namespace of our own.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that nearly every host has and that are hardly ever the source of a bind.
const USUAL: [&str; 6] = ["/root", "/var/empty", "/mnt", "/media", "/srv", "/opt"];

/// The directories of the kernel's file systems, which containers need. They are never covered.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Finds a directory of the host that can be covered without hiding any of the paths in `needed`.
/// It is one of the usual directories, or any other at the top of the tree if the host has none of
/// them.
#[must_use]
pub fn free_directory(needed: &[&Path]) -> Option<PathBuf> {
    let needed: Vec<PathBuf> = needed
        .iter()
        .map(|path| fs::canonicalize(path).unwrap_or_else(|_| (*path).to_owned()))
        .collect();
    let is_free = |candidate: &PathBuf| {
        candidate.is_dir()
            && candidate != Path::new("/")
            && !KERNEL.iter().any(|kernel| candidate == Path::new(kernel))
            && !needed.iter().any(|path| path.starts_with(candidate))
    };
    USUAL
        .iter()
        .filter_map(|candidate| fs::canonicalize(candidate).ok())
        .find(&is_free)
        .or_else(|| top().into_iter().find(&is_free))
}

/// Returns the real directories at the top of the host's tree, without links.
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
        let first = free_directory(&[]).unwrap();
        let inside = first.join("some/file");
        assert_ne!(free_directory(&[&inside]), Some(first));
        let usual: Vec<&Path> = USUAL.iter().map(Path::new).collect();
        let other = free_directory(&usual).unwrap();
        assert!(top().contains(&other), "{other:?}");
        let mut all = top();
        all.extend(USUAL.map(PathBuf::from));
        let all: Vec<&Path> = all.iter().map(PathBuf::as_path).collect();
        assert_eq!(free_directory(&all), None);
    }
}
