//! Why something cannot be signed, or a signature cannot be verified.

use std::io;
use std::path::PathBuf;

/// Why something cannot be signed, or a signature cannot be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The SIF cannot be read or written.
    #[error(transparent)]
    Sif(#[from] sif::Error),
    /// An object cannot be read.
    #[error("read object {id}")]
    Object {
        /// The object's id.
        id: u32,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The SIF has nothing of that kind to sign.
    #[error("there is no {0} in the SIF")]
    Nothing(String),
    /// The object or group is not signed.
    #[error("{0} is not signed")]
    Unsigned(String),
    /// The signature has an unsupported format.
    #[error("signature {id}: {reason}")]
    Format {
        /// The id of the signature's object.
        id: u32,
        /// Why it is not supported.
        reason: String,
    },
    /// The key that made the signature is not in the keyring.
    #[error(
        "signature {id} is by key {fingerprint}, which is not in the keyring; `front key import FILE` puts it there"
    )]
    UnknownKey {
        /// The id of the signature's object.
        id: u32,
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// The key is not reliable, or did not make the signature.
    #[error("signature {id} is by key {fingerprint}, which {reason}")]
    BadKey {
        /// The id of the signature's object.
        id: u32,
        /// The key's fingerprint.
        fingerprint: String,
        /// Why it is rejected.
        reason: &'static str,
    },
    /// The signed content was changed later.
    #[error("signature {id} does not hold: {what} was changed after it was signed")]
    Changed {
        /// The id of the signature's object.
        id: u32,
        /// The part that was changed.
        what: String,
    },
    /// The keyring or a key file cannot be used.
    #[error("{}: {reason}", path.display())]
    Keyring {
        /// The file.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// A key cannot be used.
    #[error("key {key}: {reason}")]
    Key {
        /// The key's fingerprint.
        key: String,
        /// Why it cannot be used.
        reason: String,
    },
}
