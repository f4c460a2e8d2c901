//! The caller's entries in the host's databases.

use std::path::PathBuf;

/// A line of the user database, passwd(5), and the caller's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's number.
    pub uid: u32,
    /// The primary group's number.
    pub gid: u32,
    /// The login name.
    pub name: String,
    /// The comment field.
    pub gecos: String,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell.
    pub shell: String,
    /// The primary and the supplementary groups that have a name.
    pub groups: Vec<Group>,
}

/// A line of the group database, group(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group's name.
    pub name: String,
    /// The group's number.
    pub gid: u32,
}
