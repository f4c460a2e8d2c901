//! Fast networks: which the host has, and what an image lacks to reach them.
//!
//! A program comes to a network through an MPI library, through libfabric or UCX, through the network's own
//! library, to the kernel's devices. An image often has the upper ones only, or has them built without this
//! network. What it has stays wherever it will do.

mod middleware;
mod network;
mod providers;
mod resolve;
mod resolved;
mod verbs;

pub use network::{CDI_KIND, Kind, Network, card, identity, is_there, networks, nodes};
pub use resolve::{is_worth, resolve};
pub use resolved::{Program, Reached, Resolved};
