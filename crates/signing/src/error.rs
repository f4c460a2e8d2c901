//! Why something cannot be signed, or a signature not be believed.

use std::io;
use std::path::PathBuf;

/// Why something cannot be signed, or a signature not be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The SIF cannot be read or written.
    #[error(transparent)]
    Sif(#[from] sif::Error),
    /// An object cannot be read.
    #[error("read object {id}: {}", sys::words(source))]
    Object {
        /// The object.
        id: u32,
        /// Why.
        source: io::Error,
    },
    /// There is nothing of that kind to sign.
    #[error("there is no {0} in the SIF")]
    Nothing(String),
    /// Nobody has signed it.
    #[error("{0} is not signed")]
    Unsigned(String),
    /// The signature is of a kind that is not known.
    #[error("signature {id}: {reason}")]
    Format {
        /// The signature's object.
        id: u32,
        /// What is wrong.
        reason: String,
    },
    /// The key that made the signature is not known.
    #[error(
        "signature {id} is by key {fingerprint}, which is not in the keyring; `front key import FILE` puts it there"
    )]
    UnknownKey {
        /// The signature's object.
        id: u32,
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// The key may not be relied on.
    #[error("signature {id} is by key {fingerprint}, which {reason}")]
    BadKey {
        /// The signature's object.
        id: u32,
        /// The key's fingerprint.
        fingerprint: String,
        /// Why not.
        reason: &'static str,
    },
    /// What was signed is not what is there.
    #[error("signature {id} does not hold: {what} was changed after it was signed")]
    Changed {
        /// The signature's object.
        id: u32,
        /// What.
        what: String,
    },
    /// The keyring or a key file cannot be used.
    #[error("{}: {reason}", path.display())]
    Keyring {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A key cannot be used.
    #[error("key {key}: {reason}")]
    Key {
        /// The key.
        key: String,
        /// Why.
        reason: String,
    },
}
