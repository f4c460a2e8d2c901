//! The variables that a rank needs in any container: those by which a launcher and its ranks communicate.
//!
//! A launcher (`mpirun`, `srun`, …) starts N processes, its *ranks*, and offers each a way to find
//! the others, the *wire-up*: PMI-1, PMI-2 or PMIx. Each launcher has its own variables for both.
//! Nothing but variables is read here.

#![forbid(unsafe_code)]

mod job;
mod launchers;
mod passthrough;
mod wireup;

pub use job::Job;
pub use launchers::{Launcher, is_launcher, rank_variable};
pub use passthrough::is_passed;
pub use wireup::{Wireup, directories};

/// A function that looks up a process's variable by name. Returns `None` for a value that is empty
/// or not text.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;
