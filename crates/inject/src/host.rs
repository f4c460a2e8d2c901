//! The host as discovery sees it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use elf::Object;
use tree::{Directory, Entry, Files};

/// How much of a file of `/proc` or `/sys` is read, in bytes.
const LIMIT: usize = 64 << 10;

/// Programs that root file systems have, by which their machine is told.
const PROGRAMS: [&str; 4] = [
    "/bin/sh",
    "/usr/bin/env",
    "/bin/busybox",
    "/usr/bin/python3",
];

/// Returns the machine of a root file system's programs; `None` where it has none of the usual ones.
#[must_use]
pub fn machine(root: &dyn Files) -> Option<Object> {
    let head = |path: &&str| root.read(Path::new(path), Object::HEAD).ok().flatten();
    let heads = PROGRAMS.iter().filter_map(head);
    { heads }.find_map(|head| Object::parse(&head).ok())
}

/// The host to look at. Its root is `/` but in tests.
#[derive(Debug)]
pub struct Host {
    root: Directory,
    /// Directories that are searched for programs, in order.
    program_path: Vec<PathBuf>,
}

/// A node that should be there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not there: nobody has used the GPU since the machine started; `nvidia-modprobe -u -c 0` as root, or the \
     persistence daemon, makes it", .0.display()
)]
pub struct Missing(pub PathBuf);

/// Checks that the nodes of chosen GPUs are there: what `/proc` tells of may have none yet.
///
/// # Errors
///
/// Fails with the first that is not.
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

    /// Whether something is at a path.
    #[must_use]
    pub fn exists(&self, path: &Path) -> bool {
        self.root.entry(path).is_ok_and(|entry| entry.is_some())
    }

    /// Returns the sorted names in a directory; none when it cannot be read.
    pub(crate) fn names(&self, directory: &Path) -> Vec<OsString> {
        self.root.list(directory).unwrap_or_default()
    }

    /// Returns a small text file, without the blanks around; `None` when it cannot be read.
    pub fn text(&self, path: &Path) -> Option<String> {
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
