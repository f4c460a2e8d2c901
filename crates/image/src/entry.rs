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
pub(crate) enum Step {
    /// Something that is no link.
    Entry(Entry),
    /// A symbolic link with this target.
    Link(PathBuf),
}
