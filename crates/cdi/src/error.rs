//! Why there is no such device.

use std::path::PathBuf;

/// Why there is no such device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name is not of the form `vendor/class=name`.
    #[error("{0} is no name of a device: VENDOR/CLASS=NAME is, such as nvidia.com/gpu=0")]
    Name(String),
    /// No file has the device.
    #[error("there is no device {name}: {}", list(.known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Two files of one directory have it.
    #[error("the device {name} is in {} and in {}", first.display(), second.display())]
    Conflict {
        /// What was asked for.
        name: String,
        /// One of the files.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn list(known: &[String]) -> String {
    match known {
        [] => "no file in the CDI directories has any".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}
