//! What launchers of parallel programs tell each process that they start, by its environment.
//!
//! A launcher (`mpirun`, `srun`, …) starts N processes, its *ranks*, and offers each a way to find the
//! others, the *wire-up*: PMI-1, PMI-2 or PMIx. Both are told by variables, of which each launcher has
//! its own; nothing else is looked at here.

#![forbid(unsafe_code)]

mod job;
mod variables;
mod wireup;

pub use job::{Job, Launcher};
pub use variables::is_kept;
pub use wireup::{Wireup, directories};

/// How a process's variables are looked up: by name; none for one that is empty or no text.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;
