//! What will work, what will be slow and what will fail, told before anything is started.
//!
//! Nothing of an image is run. Each finding says what was looked at, the verdict, and what mends it.

#![forbid(unsafe_code)]

mod gpu;
mod host;
mod mpi;
mod processor;
mod program;

pub use gpu::gpus;
pub use host::host;
pub use mpi::{Wanted, mpi};
pub use processor::Processor;
pub use program::{Program, program};

use serde::Serialize;

/// How something will turn out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should.
    Works,
    /// It works, and costs more than it need.
    Slow,
    /// It will not.
    Fails,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Slow => "slow",
            Self::Fails => "fails",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `wire-up`.
    pub topic: &'static str,
    /// How it will turn out.
    pub verdict: Verdict,
    /// The node where it was found, where that is not the job's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What was found.
    pub what: String,
    /// What mends it: a flag, a command, or whom to ask.
    pub remedy: Option<String>,
}

impl Finding {
    /// Whether it may be otherwise on another node, where the image and the launcher are the same.
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
