//! Errors.

use std::io;
use std::path::Path;

/// Why a part of a container's root file system could not be made: one line, with the path inside of
/// the container.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    /// Names the mount that failed, by its destination. Scripts look for runc's words.
    pub(crate) fn of_mount(destination: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |error| {
            Self(format!(
                "error during container init: error mounting {}: {}",
                destination.display(),
                text::message(&error)
            ))
        }
    }

    /// Names the attempted action.
    pub(crate) fn at(action: impl std::fmt::Display) -> impl Fn(io::Error) -> Self {
        move |error| Self(format!("{action}: {}", text::message(&error)))
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self(text)
    }
}
