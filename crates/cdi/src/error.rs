//! Why a device cannot be found.

use std::path::PathBuf;

/// Why a device cannot be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name does not have the form `vendor/class=name`.
    #[error("{0} is no name of a device: VENDOR/CLASS=NAME is, such as nvidia.com/gpu=0")]
    Name(String),
    /// No file has the device.
    #[error("there is no device {name}: {}", list(.known))]
    Unknown {
        /// The requested device.
        name: String,
        /// The known devices.
        known: Vec<String>,
    },
    /// Two files of one directory define the device.
    #[error("the device {name} is in {} and in {}", first.display(), second.display())]
    Conflict {
        /// The requested device.
        name: String,
        /// One of the two files.
        first: PathBuf,
        /// The other file.
        second: PathBuf,
    },
    /// A file is invalid or cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
}

fn list(known: &[String]) -> String {
    match known {
        [] => "no file in the CDI directories has any".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}
