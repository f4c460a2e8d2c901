//! The data that a session publishes about itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Data that a session publishes. `front ps` shows it, and processes that join need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The image's path and name.
    pub image: (PathBuf, String),
    /// Whether libraries are injected into it.
    pub libraries: bool,
    /// Whether it has a home and temporary directories of its own.
    pub contained: bool,
    /// Whether its user is root inside only.
    #[serde(default)]
    pub fakeroot: bool,
    /// Whether each of its programs is in a user namespace of its own.
    #[serde(default)]
    pub nests: bool,
    /// Whether it has processes of its own.
    pub own_processes: bool,
    /// The flags that keep it apart from the host.
    #[serde(default)]
    pub apart: Vec<String>,
    /// The program that it was made for. Only this program has been examined.
    #[serde(default)]
    pub program: String,
    /// The variables that are injected into it.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Its user's home.
    pub home: PathBuf,
}
