//! A container's state, in the form that runc prints.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// The output of `state`: the specification's fields, and runc's own.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The id of the first process; 0 when stopped.
    pub pid: i32,
    /// The container's status.
    pub status: Status,
    /// The bundle from which the container was made.
    pub bundle: PathBuf,
    /// The container's root directory.
    pub rootfs: PathBuf,
    /// The time when the container was made, in the format of RFC 3339.
    pub created: String,
    /// The bundle's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The user who made the container.
    pub owner: String,
}

/// A container's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The container is being made.
    Creating,
    /// The container waits for `start`.
    Created,
    /// The program runs.
    Running,
    /// The container is frozen.
    Paused,
    /// The program has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}
