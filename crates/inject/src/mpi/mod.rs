//! MPI: which library a program would use, whether its ranks will find each other, and how the host's
//! library stands in for the image's.

mod host;
mod implementation;
mod swap;
mod wireup;

use std::path::Path;

pub use host::Hints;
pub use implementation::{Family, Found, Implementation, find};
pub use swap::{Swap, swap};
pub use wireup::{Alone, alone};

use crate::Host;

/// Beginnings of the names of devices of fast networks, and where they are: verbs (InfiniBand, RoCE, EFA), Omni-Path,
/// Slingshot, Aries.
const FABRICS: &[(&str, &str)] = &[
    ("/dev/infiniband", "uverbs"),
    ("/dev", "hfi1_"),
    ("/dev", "cxi"),
    ("/dev", "kgni"),
];

/// Whether the host has a network that MPI libraries reach by devices of its own.
#[must_use]
pub fn has_fabric(host: &Host) -> bool {
    FABRICS.iter().any(|(directory, beginning)| {
        let names = host.names(Path::new(directory)).into_iter();
        { names }.any(|name| name.to_string_lossy().starts_with(beginning))
    })
}
