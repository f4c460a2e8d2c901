//! Why a hook could not do its work.

use std::io;
use std::path::PathBuf;

/// Why a hook could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// Standard input is not a valid state of a container.
    #[error("read the container's state from standard input: {0}")]
    State(String),
    /// The bundle is missing or invalid.
    #[error("read {}: {reason}", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        reason: String,
    },
    /// The container cannot be entered.
    #[error("enter the container")]
    Enter(#[source] io::Error),
    /// The host or the image cannot be read.
    #[error("look for what the container needs")]
    Look(#[source] io::Error),
    /// Something cannot be mounted in the container.
    #[error("put {} into the container at {}", what.display(), place.display())]
    Put {
        /// The source on the host.
        what: PathBuf,
        /// The destination in the container.
        place: PathBuf,
        /// Why it cannot be mounted.
        source: io::Error,
    },
    /// The container's cgroup cannot allow the devices.
    #[error("allow the container the host's devices")]
    Allow(#[source] io::Error),
    /// The request of the image or the user cannot be met.
    #[error("{0}")]
    Refused(String),
}
