//! A GPU of any vendor.

use std::path::PathBuf;

use serde::Serialize;

/// A GPU of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Its index, as the vendor's own tools count.
    pub index: usize,
    /// Its permanent name, `GPU-…`. Empty if it is unknown.
    pub uuid: String,
    /// Its model.
    pub model: String,
    /// Its address on the PCI bus, `0000:3b:00.0`.
    pub bus: String,
    /// Its device nodes: its own, and those for graphics.
    pub nodes: Vec<PathBuf>,
    /// The parts that it is divided into.
    pub parts: Vec<Part>,
}

/// A part of a GPU. With NVIDIA's MIG, a compute instance of a GPU instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The number of the GPU instance.
    pub gpu_instance: u32,
    /// The number of the compute instance in it.
    pub compute_instance: u32,
    /// The device nodes that give access to both instances.
    pub nodes: Vec<PathBuf>,
}
