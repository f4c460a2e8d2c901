//! Why an image could not be obtained.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image could not be obtained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image cannot be read.
    #[error(transparent)]
    Oci(#[from] oci::Error),
    /// The SIF cannot be made.
    #[error(transparent)]
    Pack(#[from] pack::Error),
    /// The network or the server fails.
    #[error(transparent)]
    Network(#[from] registry::Error),
    /// The source is not a SIF.
    #[error("{0}: there is no SIF; an image that was pushed with docker or podman is docker://")]
    NoSif(String),
    /// The source has no layers.
    #[error("{0}: a SIF, which has no layers")]
    NoLayers(String),
    /// No library is configured.
    #[error(
        "library://{0}: no library is configured; --library ADDRESS or FRONT_LIBRARY names one"
    )]
    NoLibrary(String),
    /// The cache cannot be written.
    #[error("the cache of images")]
    Cache(#[from] io::Error),
    /// A file cannot be made or read.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why it cannot be made or read.
        source: io::Error,
    },
}

impl Error {
    /// Whether the network fails, not the service behind it.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Network(error) => error.is_unreachable(),
            Self::Oci(oci::Error::Fetch(error))
            | Self::Pack(pack::Error::Oci(oci::Error::Fetch(error))) => error
                .downcast_ref::<registry::Error>()
                .is_some_and(registry::Error::is_unreachable),
            _ => false,
        }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}

impl pack::OutputError for Error {
    fn named(self, path: &Path) -> Self {
        match self {
            Self::Pack(error) => Self::Pack(error.named(path)),
            error => error,
        }
    }
}
