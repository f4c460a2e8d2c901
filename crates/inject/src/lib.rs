//! Discovers, once, which files and devices of the host a container gets, and describes them in the
//! terms of CDI.
//!
//! Nothing here starts a process, loads a library or changes anything. The code reads, and returns
//! [`Edits`].

#![forbid(unsafe_code)]

mod cdi_devices;
mod cdi_file;
mod compat;
mod drivers;
mod edits;
pub mod fabric;
mod gpu;
mod gpu_selection;
mod host;
mod host_libraries;
mod inventory;
pub mod mpi;
mod note;
pub mod nvidia;
pub mod rocm;
mod view;

pub use cdi_devices::{WithDevices, vendors};
pub use cdi_file::{fabric_spec, gpu_spec};
pub use compat::{Class, Decision, Verdict};
pub use drivers::{DriverEdits, LIBRARIES, Vendor, Wanted, driver_edits, identity};
pub use edits::{Edits, Mount};
pub use gpu::{Gpu, Part};
pub use gpu_selection::{GpuSelection, Unknown, renumbered};
pub use host::{Host, Missing, check_nodes, machine};
pub use host_libraries::HostLibraries;
pub use note::Note;
pub use view::View;
