//! What lies on the network: registries of images, files behind an address, a docker daemon's socket.
//!
//! The only room with asynchronous code; all that it offers waits until it is done. Nothing that comes
//! from the network is believed: what has a digest is checked, what has a size ends there.

#![forbid(unsafe_code)]

mod ask;
mod challenge;
mod credentials;
mod daemon;
mod endpoint;
mod error;
mod patience;
mod progress;
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
pub use progress::{Progress, Silent, Task};
pub use reference::reference;
pub use registry::Registry;
pub use trust::authorities_file;
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
