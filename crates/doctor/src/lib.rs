//! Reports, before anything is started, what will work, what will be slow and what will fail.
//!
//! Nothing of an image is run. Each finding has a topic, a verdict and a remedy.

#![forbid(unsafe_code)]

mod gpu;
mod host;
mod mpi;
mod processor;
mod program;
mod shared_memory;

pub use gpu::gpus;
pub use host::host;
pub use mpi::{Wanted, mpi};
pub use processor::Processor;
pub use program::{Program, program};

use serde::Serialize;

/// The expected result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It works.
    Works,
    /// It works, but slower than necessary.
    Slow,
    /// It does not work.
    Fails,
}

impl Verdict {
    /// Returns the verdict as a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Slow => "slow",
            Self::Fails => "fails",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The topic: `wire-up`.
    pub topic: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The node of the finding, if it is not the job's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The description.
    pub what: String,
    /// The remedy: a flag, a command, or the person to ask.
    pub remedy: Option<String>,
}

impl Finding {
    /// Whether the finding may differ on another node, if the image and the launcher are the same.
    #[must_use]
    pub fn is_of_the_node(&self) -> bool {
        let of_the_job = [
            "program",
            "C library",
            "libraries",
            "MPI library",
            "wire-up",
        ];
        !of_the_job.contains(&self.topic)
    }

    fn works(topic: &'static str, what: impl Into<String>) -> Self {
        Self {
            topic,
            verdict: Verdict::Works,
            node: None,
            what: what.into(),
            remedy: None,
        }
    }

    fn slow(topic: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            topic,
            verdict: Verdict::Slow,
            node: None,
            what: what.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn fails(topic: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            topic,
            verdict: Verdict::Fails,
            node: None,
            what: what.into(),
            remedy: Some(remedy.into()),
        }
    }
}
