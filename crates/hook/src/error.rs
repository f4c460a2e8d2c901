//! Why a hook could not do its work.

use std::io;
use std::path::PathBuf;

/// Why a hook could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Standard input is no state of a container.
    #[error("read the container's state from standard input: {0}")]
    State(String),
    /// The bundle is not there, or not sound.
    #[error("read {}: {reason}", path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The container cannot be entered.
    #[error("enter the container: {0}")]
    Enter(#[source] io::Error),
    /// The host or the image cannot be read.
    #[error("look for what the container needs: {0}")]
    Look(#[source] io::Error),
    /// Something cannot be put into the container.
    #[error("put {} into the container at {}: {source}", what.display(), place.display())]
    Put {
        /// What.
        what: PathBuf,
        /// Where.
        place: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The container may not be given devices.
    #[error("allow the container the host's devices: {0}")]
    Allow(#[source] io::Error),
    /// What the image or the user asks for is not to be had.
    #[error("{0}")]
    Refused(String),
}
