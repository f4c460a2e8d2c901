//! Fast networks: the host's networks, and the libraries that an image lacks to reach them.
//!
//! A program reaches a network through several layers: an MPI library, libfabric or UCX, the
//! network's own library, and the kernel's devices. An image often has only the upper layers, or
//! has them built without this network. The image's libraries are kept wherever they suffice.

mod middleware;
mod network;
mod providers;
mod resolve;
mod resolved;
mod verbs;

pub use network::{CDI_KIND, Kind, Network, card, identity, is_there, networks, nodes};
pub use resolve::{is_worth, resolve};
pub use resolved::{Program, Reached, Resolved};
