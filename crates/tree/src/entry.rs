//! What a path in a root file system is.

use std::path::PathBuf;

/// What a path in a root file system is, its links followed.
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

/// What a path is, its last component not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Something that is no link.
    Entry(Entry),
    /// A symbolic link with this target.
    Link(PathBuf),
}

/// Where a path leads within a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The absolute path without links, `.` and `..`; what is missing at its end is as it was given.
    pub path: PathBuf,
    /// What is there, `None` when nothing is.
    pub entry: Option<Entry>,
}
