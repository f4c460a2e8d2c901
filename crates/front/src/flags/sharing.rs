//! The processes that share a program's container.

use anyhow::Result;
use clap::Args;

use super::{Group, Variable};
use crate::variables::Variables;

/// The flags for shared containers.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Sharing")]
pub struct SharingFlags {
    /// Give each rank of a job its own container; the ranks cannot read each other's memory then
    #[arg(long)]
    pub no_share: bool,
    /// Do nothing: the ranks of a job on a node share one container by default
    #[arg(long, hide = true, conflicts_with = "no_share")]
    pub sharens: bool,
    /// Enter the container of a job that runs on this node; `front ps` shows these jobs
    #[arg(long, value_name = "JOB[.STEP]")]
    pub join: Option<String>,
}

const NO_SHARE: Variable = Variable::of("no_share", &["NO_SHARE"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[NO_SHARE];

/// The processes that share a program's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sharing {
    /// Processes that ask for the same container.
    Same,
    /// No other process.
    Nobody,
    /// The ranks of a running job: JOB[.STEP].
    Job(String),
}

impl Group for SharingFlags {
    const LONG: &'static [&'static str] = &["no-share", "sharens", "join"];
    const SHORT: &'static str = "";
}

impl SharingFlags {
    /// Combines flags and variables.
    ///
    /// # Errors
    ///
    /// Fails on invalid values.
    pub fn resolve(&self, variables: &Variables) -> Result<Sharing> {
        let alone = self.no_share || variables.is_set(&NO_SHARE)?;
        Ok(match &self.join {
            Some(job) => Sharing::Job(job.clone()),
            None if alone => Sharing::Nobody,
            None => Sharing::Same,
        })
    }
}
