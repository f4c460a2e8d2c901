//! The host as discovery sees it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tree::{Directory, Entry, Files};

/// How much of a file of `/proc` or `/sys` is read, in bytes.
const LIMIT: usize = 64 << 10;

/// The host to look at. Its root is `/` but in tests.
#[derive(Debug)]
pub struct Host {
    root: Directory,
    /// Directories that are searched for programs, in order.
    program_path: Vec<PathBuf>,
}

impl Host {
    /// Describes the host whose root directory is `root` and whose `PATH` is `path`.
    ///
    /// # Errors
    ///
    /// Fails when `root` cannot be opened.
    pub fn new(root: &Path, path: &OsStr) -> io::Result<Self> {
        let program_path = path
            .as_bytes()
            .split(|byte| *byte == b':')
            .filter(|part| part.starts_with(b"/"))
            .map(|part| PathBuf::from(OsStr::from_bytes(part)))
            .collect();
        Ok(Self {
            root: Directory::open_root(root)?,
            program_path,
        })
    }

    /// Returns its files.
    #[must_use]
    pub fn files(&self) -> &Directory {
        &self.root
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.root.entry(path).is_ok_and(|entry| entry.is_some())
    }

    /// Returns the sorted names in a directory; none when it cannot be read.
    pub(crate) fn names(&self, directory: &Path) -> Vec<OsString> {
        self.root.list(directory).unwrap_or_default()
    }

    /// Returns a small text file, without the blanks around; `None` when it cannot be read.
    pub(crate) fn text(&self, path: &Path) -> Option<String> {
        let bytes = self.root.read(path, LIMIT).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Returns where a path leads, without links; `None` when nothing is there.
    pub(crate) fn canonical(&self, path: &Path) -> Option<PathBuf> {
        let place = self.root.locate(path).ok()?;
        place.entry.map(|_| place.path)
    }

    /// Returns the first executable regular file of that name in `PATH`.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let executable = |path: &PathBuf| {
            let entry = self.root.entry(path);
            matches!(entry, Ok(Some(Entry::File { executable: true })))
        };
        let candidates = self
            .program_path
            .iter()
            .map(|directory| directory.join(name));
        candidates.into_iter().find(executable)
    }
}
