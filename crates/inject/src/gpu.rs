//! A GPU, of whichever vendor.

use std::path::PathBuf;

use serde::Serialize;

/// A GPU of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Its number, as the vendor's own tools count.
    pub index: usize,
    /// What it is called for good: `GPU-…`. Empty when that cannot be found out.
    pub uuid: String,
    /// Its model.
    pub model: String,
    /// Its place on the PCI bus, `0000:3b:00.0`.
    pub bus: String,
    /// Its nodes: its own, and those for graphics.
    pub nodes: Vec<PathBuf>,
    /// What it is divided into.
    pub parts: Vec<Part>,
}

/// A part of a GPU: of NVIDIA's MIG, a compute instance of a GPU instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The number of the GPU instance.
    pub gpu_instance: u32,
    /// The number of the compute instance in it.
    pub compute_instance: u32,
    /// The nodes that give access to the two.
    pub nodes: Vec<PathBuf>,
}
