//! The host, as discovery sees it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use elf::Object;
use rootfs::{Directory, Entry, Files};

/// Largest part of a file in `/proc` or `/sys` that is read, in bytes.
const LIMIT: usize = 64 << 10;

/// Programs that root file systems usually have. Their headers show the machine.
const PROGRAMS: [&str; 4] = [
    "/bin/sh",
    "/usr/bin/env",
    "/bin/busybox",
    "/usr/bin/python3",
];

/// Returns the machine of a root file system's programs. Returns `None` if it has none of the usual
/// programs.
#[must_use]
pub fn machine(root: &dyn Files) -> Option<Object> {
    let head = |path: &&str| root.read(Path::new(path), Object::HEAD).ok().flatten();
    let heads = PROGRAMS.iter().filter_map(head);
    { heads }.find_map(|head| Object::parse(&head).ok())
}

/// The host whose files are read. Its root is `/`, except with `--driver-root` and in tests.
#[derive(Debug)]
pub struct Host {
    root: Directory,
    /// The directories in which programs are searched, as in `PATH`.
    path: OsString,
}

/// A device node that should exist does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} does not exist: the GPU has not been used since boot; `nvidia-modprobe -u -c 0` as root, or the \
     persistence daemon, creates it", .0.display()
)]
pub struct Missing(pub PathBuf);

/// Checks that the device nodes of chosen GPUs exist. A GPU that `/proc` lists may have none yet.
///
/// # Errors
///
/// Fails with the first that does not exist.
pub fn check_nodes(host: &Host, nodes: &[PathBuf]) -> Result<(), Missing> {
    match nodes.iter().find(|node| !host.exists(node)) {
        Some(node) => Err(Missing(node.clone())),
        None => Ok(()),
    }
}

impl Host {
    /// Describes the host whose root directory is `root` and whose `PATH` is `path`.
    ///
    /// # Errors
    ///
    /// Fails when `root` cannot be opened.
    pub fn new(root: &Path, path: &OsStr) -> io::Result<Self> {
        Ok(Self {
            root: Directory::open_root(root)?,
            path: path.to_owned(),
        })
    }

    /// Returns its files.
    #[must_use]
    pub fn files(&self) -> &Directory {
        &self.root
    }

    /// Whether a file exists at a path.
    #[must_use]
    pub fn exists(&self, path: &Path) -> bool {
        self.root.entry(path).is_ok_and(|entry| entry.is_some())
    }

    /// Returns the sorted names in a directory, or none if it cannot be read.
    pub(crate) fn names(&self, directory: &Path) -> Vec<OsString> {
        self.root.list(directory).unwrap_or_default()
    }

    /// Returns the content of a small text file, without surrounding white space. Returns `None` if
    /// it cannot be read.
    pub fn text(&self, path: &Path) -> Option<String> {
        let bytes = self.root.read(path, LIMIT).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Resolves a path to one without links. Returns `None` if nothing is there.
    pub(crate) fn canonical(&self, path: &Path) -> Option<PathBuf> {
        let place = self.root.locate(path).ok()?;
        place.entry.map(|_| place.path)
    }

    /// Returns the first executable regular file of a name in `PATH`.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let executable = |path: &PathBuf| {
            let entry = self.root.entry(path);
            matches!(entry, Ok(Some(Entry::File { executable: true })))
        };
        // The working directory is not the host's to search.
        let mut candidates =
            rootfs::candidates(&self.path, OsStr::new(name)).filter(|path| path.is_absolute());
        candidates.find(executable)
    }
}
