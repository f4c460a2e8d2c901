//! Errors. They have runc's texts where engines look for them.

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
    /// `config.json` does not follow the specification.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The fault in the file.
        reason: String,
    },
    /// The specification asks for something unsupported, or contradicts itself.
    #[error("config.json: {0}")]
    Refused(String),
    /// A hook failed.
    #[error("error running {point} hook #{number}: {}: {reason}", path.display())]
    Hook {
        /// The point at which it runs.
        point: String,
        /// Its place in the list of that point.
        number: usize,
        /// The hook's program.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// A process to be started in a container does not follow the specification, or is impossible.
    #[error("process: {0}")]
    Process(String),
    /// A process could not be started in a container.
    #[error("exec failed: unable to start container process: {0}")]
    Exec(String),
    /// Limits do not follow the specification, or cannot be set.
    #[error("resources: {0}")]
    Resources(String),
    /// A file or directory of the state cannot be used.
    #[error("{action} {}", path.display())]
    State {
        /// The attempted action.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// libcontainer could not make the container.
    #[error("unable to start container process: {0}")]
    Create(String),
    /// An error that a child process of ours reported.
    #[error("{0}")]
    Reported(String),
    /// A signal came while the container was being made. Nothing of the container is left.
    #[error("interrupted by {0}")]
    Interrupted(&'static str),
    /// The container is not in a state that allows this operation.
    #[error("{0}")]
    WrongStatus(String),
    /// A container's processes could not be saved or restored.
    #[error("{0}")]
    Criu(String),
    /// libcontainer failed at another action.
    #[error("{action}: {reason}")]
    Library {
        /// The attempted action.
        action: &'static str,
        /// The cause.
        reason: String,
    },
    /// The kernel refused an action.
    #[error("{action}")]
    System {
        /// The attempted action.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn library(action: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Library {
            action,
            reason: of_library(error),
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

/// Returns an error of libcontainer's in one line. Its errors contain the messages of their causes,
/// some of them and at any place; such a message is not repeated.
pub(crate) fn of_library(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        if !text.to_lowercase().contains(&message.to_lowercase()) {
            text = format!("{text}: {message}");
        }
        next = cause.source();
    }
    text::printable(&text)
}
