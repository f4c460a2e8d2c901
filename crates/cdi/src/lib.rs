//! The Container Device Interface: files that describe the changes a device makes to a container.
//!
//! Follows the [CDI specification], 1.1.0.
//!
//! [CDI specification]: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md

#![forbid(unsafe_code)]

mod error;
mod expanse;
mod name;
mod registry;
mod spec;

pub use error::Error;
pub use name::Name;
pub use registry::Registry;
pub use spec::{ContainerEdits, Device, DeviceNode, Hook, Mount, Spec, VERSION};
