//! What can go wrong. The words are runc's where engines look for them.

use std::io;
use std::path::PathBuf;

/// Why an operation on a container failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The id could lead out of the state directory.
    #[error("invalid container ID format: {0:?}")]
    InvalidId(String),
    /// The id is taken.
    #[error("container with given ID already exists")]
    Exists,
    /// There is no container of that id.
    #[error("container does not exist")]
    Missing,
    /// The bundle has no `config.json`.
    #[error("JSON specification file config.json not found in {}", .0.display())]
    NoConfig(PathBuf),
    /// `config.json` is not what the specification says.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is asked that is not supported, or contradicts itself.
    #[error("config.json: {0}")]
    Refused(String),
    /// A process to start in a container is not what the specification says, or cannot be given.
    #[error("process: {0}")]
    Process(String),
    /// A process could not be started in a container.
    #[error("exec failed: unable to start container process: {0}")]
    Exec(String),
    /// Limits are not what the specification says, or cannot be set.
    #[error("resources: {0}")]
    Resources(String),
    /// A file or directory of the state cannot be used.
    #[error("{action} {}: {source}", path.display())]
    State {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// libcontainer could not make the container.
    #[error("unable to start container process: {0}")]
    Create(String),
    /// What went wrong in a process of ours.
    #[error("{0}")]
    Reported(String),
    /// A signal came while the container was made; nothing of it is left.
    #[error("{0} while the container was created")]
    Interrupted(&'static str),
    /// The container is not in a state in which this can be done.
    #[error("{0}")]
    WrongStatus(String),
    /// Saving a container's processes, or bringing them back.
    #[error("{0}")]
    Criu(String),
    /// libcontainer failed at something else.
    #[error("{action}: {reason}")]
    Library {
        /// What was to be done.
        action: &'static str,
        /// Why it was not.
        reason: String,
    },
    /// The kernel refused.
    #[error("{action}: {source}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// Why it was not.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn library(action: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Library {
            action,
            reason: sys::one_line(error),
        }
    }

    pub(crate) fn system(action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System {
            action,
            source: source.into(),
        }
    }

    pub(crate) fn state<'a>(
        action: &'static str,
        path: impl Into<PathBuf> + 'a,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::State {
            action,
            path: path.into(),
            source,
        }
    }
}
