//! MPI: the library that a program would use, whether its ranks will find each other, and how the
//! host's library replaces the image's.

mod host;
mod implementation;
mod policy;
mod replace;
mod wireup;

pub use host::Hints;
pub use implementation::{FAMILIES, Family, Found, Implementation, find, missing};
pub(crate) use implementation::{is_mpi, plugins};
pub use policy::{Facts, Policy};
pub use replace::{Swap, Wanted, is_of_mpi, swap};
pub use wireup::{WireupMismatch, wireup_mismatch};
