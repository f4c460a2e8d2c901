//! Access to the network: registries of images, files at an address, a docker daemon's socket.
//!
//! This is the only crate with asynchronous code; each public function returns when its work is
//! done. Nothing from the network is trusted: content with a digest is checked, and content with a
//! size may not be longer.

#![forbid(unsafe_code)]

mod ask;
mod challenge;
mod credentials;
mod daemon;
mod endpoint;
mod error;
mod pass;
mod patience;
mod push;
mod receive;
mod reference;
mod registry;
mod tls;
mod trust;
mod web;

pub use credentials::{Credentials, Login};
pub use daemon::Daemon;
pub use endpoint::{Mirror, Options};
pub use error::Error;
pub use oci_spec::distribution::Reference;
pub use patience::Patience;
pub use reference::reference;
pub use registry::Registry;
pub use trust::authorities_file;
pub use web::{Page, Web};

use std::sync::Once;

/// Installs the cryptography of TLS for the whole process.
fn prepare_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only when it has been installed before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Returns the runtime for the asynchronous code. It does the network's work while the callers wait
/// and write.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    prepare_tls();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::Start)
}
