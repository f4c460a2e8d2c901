//! Why an image could not be made.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The OCI image cannot be read.
    #[error(transparent)]
    Oci(#[from] oci::Error),
    /// The source image cannot be opened.
    #[error(transparent)]
    Open(#[from] image::Error),
    /// The squashfs cannot be made.
    #[error("make the squashfs: {0}")]
    Squash(String),
    /// The squashfs cannot be unpacked.
    #[error("unpack {}", path.display())]
    Unpack {
        /// The image.
        path: PathBuf,
        /// Why it cannot be unpacked.
        source: squashfs::Error,
    },
    /// The SIF cannot be written.
    #[error("{}", path.display())]
    Sif {
        /// The file.
        path: PathBuf,
        /// Why it cannot be written.
        source: sif::Error,
    },
    /// The directory at the output's path is not an image.
    #[error("{}: a directory, and no image: it is not overwritten, even with --force; remove it yourself", .0.display())]
    NoSandbox(PathBuf),
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
    /// Returns the error for a tar that cannot be written.
    pub(crate) fn written(error: io::Error) -> Self {
        Self::Oci(oci::Error::Write(error))
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}
