//! The kinds of files in a root file system.

use std::path::PathBuf;

/// The kind of the file at a path, with all links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Whether any of its execute bits is set.
        executable: bool,
    },
    /// A device, FIFO or socket.
    Other,
}

/// The file at a path, without following a link at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A file that is not a link.
    Entry(Entry),
    /// A symbolic link with this target.
    Link(PathBuf),
}

/// The target of a path within a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The absolute path without links, `.` and `..`. Components that do not exist are as they were
    /// given.
    pub path: PathBuf,
    /// The kind of the file there; `None` if there is none.
    pub entry: Option<Entry>,
}
