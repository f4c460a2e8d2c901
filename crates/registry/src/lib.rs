//! What lies on the network: registries of images, files behind an address, a docker daemon's socket.
//!
//! The only room with asynchronous code; all that it offers waits until it is done. Nothing that comes
//! from the network is believed: what has a digest is checked, what has a size ends there.

#![forbid(unsafe_code)]

mod credentials;
mod daemon;
mod endpoint;
mod error;
mod progress;
mod push;
mod receive;
mod registry;
mod trust;
mod web;

pub use credentials::{Credentials, Login};
pub use daemon::Daemon;
pub use endpoint::{Mirror, Options};
pub use error::Error;
pub use oci_client::Reference;
pub use progress::{Progress, Silent, Task};
pub use registry::Registry;
pub use web::{Page, Web};

use std::sync::Once;

/// What does the sums of TLS, for the whole process.
fn prepare_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only when it was done before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// What runs the asynchronous code: one thread that speaks, while its callers wait and write.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    prepare_tls();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::Start)
}

/// Reads what a user writes behind `docker://`.
///
/// # Errors
///
/// Fails on what is no reference, and on a digest of another kind than SHA-256.
pub fn reference(text: &str) -> Result<Reference, Error> {
    let failed = |reason: String| Error::Reference {
        text: text.to_owned(),
        reason,
    };
    let reference: Reference = text
        .parse()
        .map_err(|error: oci_client::ParseError| failed(error.to_string()))?;
    if let Some(digest) = reference.digest() {
        digest
            .parse::<oci::Digest>()
            .map_err(|error| failed(error.to_string()))?;
    }
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_dockers() {
        let whole = |text: &str| reference(text).map(|one| one.whole());
        assert_eq!(whole("alpine").unwrap(), "docker.io/library/alpine:latest");
        assert_eq!(
            whole("localhost:5000/a/b:1").unwrap(),
            "localhost:5000/a/b:1"
        );
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(
            whole(&format!("nvcr.io/x@{digest}")).unwrap(),
            format!("nvcr.io/x@{digest}")
        );
        for wrong in ["", "Alpine", "a b", "a@sha256:12", "a:"] {
            let error = whole(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{wrong:?}")), "{error}");
        }
    }
}
