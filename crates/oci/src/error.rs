//! Why an image cannot be used.

use std::io;
use std::path::PathBuf;

/// Why an OCI image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be opened or read.
    #[error("{}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why it cannot be opened or read.
        source: io::Error,
    },
    /// A document of the image does not follow the specification.
    #[error("{what}: {reason}")]
    Document {
        /// The document.
        what: String,
        /// How it differs from the specification.
        reason: String,
    },
    /// A blob is missing.
    #[error("blob {0} is missing")]
    Missing(String),
    /// A blob does not have its digest.
    #[error("blob {expected}: the content is another, of digest {found}")]
    Digest {
        /// The expected digest.
        expected: String,
        /// The digest of its content.
        found: String,
    },
    /// A digest of an unsupported form.
    #[error("digest {0:?}: expected sha256: and 64 hexadecimal digits")]
    BadDigest(String),
    /// There is no image of that name, or there are several and the user named none.
    #[error("{0}")]
    NoImage(String),
    /// No image fits this machine.
    #[error("there is no image for {wanted}; there is one for {offered}")]
    NoPlatform {
        /// The architecture that was looked for.
        wanted: String,
        /// The architectures that the image has.
        offered: String,
    },
    /// A layer cannot be read.
    #[error("layer {layer}: {reason}")]
    Layer {
        /// The layer's digest.
        layer: String,
        /// Why it cannot be read.
        reason: String,
    },
    /// A blob cannot be fetched.
    #[error(transparent)]
    Fetch(Box<dyn std::error::Error + Send + Sync>),
    /// The tree cannot be written.
    #[error("write the image's files")]
    Write(#[source] io::Error),
}

impl Error {
    pub(crate) fn open<'a>(path: impl Into<PathBuf> + 'a) -> impl FnOnce(io::Error) -> Self + 'a {
        |source| Self::Open {
            path: path.into(),
            source,
        }
    }
}
