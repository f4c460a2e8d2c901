//! What the host must lend to a container, worked out once and told in CDI's own terms.
//!
//! Nothing here starts a process, loads a library or changes anything: it looks, and returns
//! [`Edits`].

#![forbid(unsafe_code)]

mod choice;
mod device;
mod edits;
pub mod fabric;
mod generate;
mod gpu;
mod host;
mod lend;
mod library;
pub mod mpi;
pub mod nvidia;
mod offer;
pub mod rocm;
mod stand_in;

pub use choice::{Choice, Unknown, seen_as};
pub use device::{add_devices, vendors};
pub use edits::{Edits, Mount};
pub use generate::{fabric_spec, gpu_spec};
pub use gpu::{Gpu, Part};
pub use host::{Host, Missing, check_nodes, machine};
pub use lend::{LIBRARIES, Lent, Vendor, Wanted, identity, lend};
pub use library::{Class, Fate, Verdict};
pub use stand_in::StandIn;
