//! MPI: which library a program would use, whether its ranks will find each other, and how the host's
//! library stands in for the image's.

mod host;
mod implementation;
mod swap;
mod wireup;

pub use host::Hints;
pub use implementation::{Family, Found, Implementation, find};
pub(crate) use implementation::{is_mpi, plugins};
pub use swap::{Swap, swap};
pub use wireup::{Alone, alone};
