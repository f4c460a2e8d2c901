//! Looking into a root file system of any kind.

use std::ffi::OsString;
use std::io::{self, Read, Seek};
use std::path::{Component, Path, PathBuf};

use crate::{Entry, Located, Step};

/// Largest number of links that a path may lead through: the kernel's limit, path_resolution(7).
const MAX_LINKS: usize = 40;

/// The bytes of a file.
pub trait Content: Read + Seek {}

impl<T: Read + Seek> Content for T {}

/// The files of a root file system. Paths are absolute; links lead within it.
pub trait Files: std::fmt::Debug {
    /// Returns the file at `path`, without following a link at its end.
    ///
    /// # Errors
    ///
    /// Fails when the file system cannot be read or is damaged there.
    fn step(&self, path: &Path) -> io::Result<Option<Step>>;

    /// Returns the kind of the file at `path`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`Files::step`].
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>>;

    /// Opens the regular file at `path`. Returns `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`Files::step`].
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Content + '_>>>;

    /// Returns the sorted names in the directory at `path`; none if there is no such directory.
    ///
    /// # Errors
    ///
    /// As [`Files::step`].
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Returns at most `limit` bytes of the regular file at `path`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As [`Files::step`].
    fn read(&self, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(content) = self.open(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        content.take(limit as u64).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Finds the target of `path`, even if nothing is there.
    ///
    /// # Errors
    ///
    /// As [`Files::step`], and for a loop of links.
    fn locate(&self, path: &Path) -> io::Result<Located> {
        let mut ahead: Vec<OsString> = names_backwards(path);
        let mut here = PathBuf::from("/");
        let mut entry = Some(Entry::Directory);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let step = if entry.is_some() {
                self.step(&next)?
            } else {
                None
            };
            match step {
                Some(Step::Link(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(io::Error::other("too many levels of symbolic links"));
                    }
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    ahead.extend(names_backwards(&target));
                }
                Some(Step::Entry(found)) => {
                    here = next;
                    entry = Some(found);
                }
                None => {
                    here = next;
                    entry = None;
                }
            }
        }
        Ok(Located { path: here, entry })
    }
}

/// Returns the names in a path, the last one first: a stack of the names that are still ahead.
#[must_use]
pub fn names_backwards(path: &Path) -> Vec<OsString> {
    let names = path
        .components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        });
    names.collect()
}

/// Returns an absolute path without `.` and `..`, by its text alone. A relative one is taken from the
/// root.
#[must_use]
pub fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Directory;

    #[test]
    fn places_stay_inside_whatever_links_say() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("run/lock")).unwrap();
        std::fs::create_dir(root.join("var")).unwrap();
        symlink("/run", root.join("var/run")).unwrap();
        symlink("../../../../etc/passwd", root.join("escape")).unwrap();
        symlink("/usr/share/zoneinfo/UTC", root.join("localtime")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let rootfs = Directory::open_root(root).unwrap();
        let place = |path: &str| rootfs.locate(Path::new(path)).unwrap();
        let missing = |path: &str| Located {
            path: path.into(),
            entry: None,
        };
        assert_eq!(
            place("/var/run/lock"),
            Located {
                path: "/run/lock".into(),
                entry: Some(Entry::Directory)
            }
        );
        assert_eq!(place("/var/run/new/dir"), missing("/run/new/dir"));
        assert_eq!(place("/escape"), missing("/etc/passwd"));
        assert_eq!(place("/localtime"), missing("/usr/share/zoneinfo/UTC"));
        assert_eq!(place("/../../x"), missing("/x"));
        assert!(rootfs.locate(Path::new("/loop/x")).is_err());
        assert_eq!(rootfs.entry(Path::new("/escape")).unwrap(), None);
    }
}
