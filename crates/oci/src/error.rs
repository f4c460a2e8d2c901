//! Why an image cannot be used.

use std::io;
use std::path::PathBuf;

/// Why an OCI image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be opened or read.
    #[error("{}: {}", path.display(), sys::words(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A document of the image is not what the specification says.
    #[error("{what}: {reason}")]
    Document {
        /// The document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob is missing.
    #[error("blob {0} is missing")]
    Missing(String),
    /// A blob is another than its digest says.
    #[error("blob {expected}: the content is another, of digest {found}")]
    Digest {
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A digest that cannot be checked.
    #[error("digest {0:?}: expected sha256: and 64 hexadecimal digits")]
    BadDigest(String),
    /// There is no image of that name, or there are several and none is named.
    #[error("{0}")]
    NoImage(String),
    /// No image fits this machine.
    #[error("there is no image for {wanted}; there is one for {offered}")]
    NoPlatform {
        /// What was looked for.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// A layer cannot be read.
    #[error("layer {layer}: {reason}")]
    Layer {
        /// Its digest.
        layer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob cannot be had from where it is.
    #[error("{0}")]
    Fetch(Box<dyn std::error::Error + Send + Sync>),
    /// The tree cannot be written.
    #[error("write the image's files: {}", sys::words(.0))]
    Write(io::Error),
}

impl Error {
    pub(crate) fn open<'a>(path: impl Into<PathBuf> + 'a) -> impl FnOnce(io::Error) -> Self + 'a {
        |source| Self::Open {
            path: path.into(),
            source,
        }
    }
}
