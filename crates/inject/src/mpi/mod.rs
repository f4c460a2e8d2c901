//! MPI: which library a program would use, and whether its ranks will find each other.

mod implementation;
mod wireup;

pub use implementation::{Family, Implementation};
pub use wireup::{Alone, alone};
