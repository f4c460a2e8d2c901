//! With whom a program shares its container.

use anyhow::Result;
use clap::Args;

use super::Variable;
use crate::variables::Variables;

/// With whom it shares its container.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Sharing")]
pub struct SharingFlags {
    /// Give each rank of a job a container of its own; they cannot read each other's memory then
    #[arg(long)]
    pub no_share: bool,
    /// As ever: the ranks of a job on a node share one container
    #[arg(long, hide = true, conflicts_with = "no_share")]
    pub sharens: bool,
    /// Enter the container of a job that runs on this node; `front ps` shows which there are
    #[arg(long, value_name = "JOB[.STEP]")]
    pub join: Option<String>,
}

const NO_SHARE: Variable = Variable::of("no_share", &["NO_SHARE"]);

/// The variables that stand for them.
pub(super) const VARIABLES: &[Variable] = &[NO_SHARE];

/// With whom a program shares its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sharing {
    /// With those who ask for the same.
    Same,
    /// With nobody.
    Nobody,
    /// With the ranks of a job that runs: JOB[.STEP].
    Job(String),
}

impl SharingFlags {
    /// Puts flags and variables together.
    ///
    /// # Errors
    ///
    /// Fails on values that have no meaning.
    pub fn resolve(&self, variables: &Variables) -> Result<Sharing> {
        let alone = self.no_share || variables.is_set(&NO_SHARE)?;
        Ok(match &self.join {
            Some(job) => Sharing::Job(job.clone()),
            None if alone => Sharing::Nobody,
            None => Sharing::Same,
        })
    }
}
