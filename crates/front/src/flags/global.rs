//! How much the program says.

use anyhow::Result;
use clap::Args;

use super::Variable;
use crate::variables::Variables;

/// Flags that stand before the command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Print what is done, step by step
    #[arg(short, long)]
    pub debug: bool,
    /// Print more than usual
    #[arg(short, long)]
    pub verbose: bool,
    /// Print warnings and errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Print errors only
    #[arg(short, long)]
    pub silent: bool,
    /// Print without colours
    #[arg(long)]
    pub nocolor: bool,
}

const DEBUG: Variable = Variable::of("debug", &["DEBUG"]);
const VERBOSE: Variable = Variable::of("verbose", &["VERBOSE"]);
const QUIET: Variable = Variable::of("quiet", &["QUIET"]);
const SILENT: Variable = Variable::of("silent", &["SILENT"]);
const NOCOLOR: Variable = Variable::of("nocolor", &["NOCOLOR"]);

/// The variables that stand for them.
pub(super) const VARIABLES: &[Variable] = &[DEBUG, VERBOSE, QUIET, SILENT, NOCOLOR];

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Errors.
    Fatal,
    /// Warnings, too.
    Warning,
    /// What is as it should be, too.
    Info,
    /// More than usual.
    Verbose,
    /// Each step.
    Debug,
}

impl Global {
    /// Puts flags and variables together.
    ///
    /// # Errors
    ///
    /// Fails on values that have no meaning.
    pub fn level(&self, variables: &Variables) -> Result<Level> {
        for (level, flag, variable) in [
            (Level::Debug, self.debug, DEBUG),
            (Level::Fatal, self.silent, SILENT),
            (Level::Warning, self.quiet, QUIET),
            (Level::Verbose, self.verbose, VERBOSE),
        ] {
            if flag || variables.is_set(&variable)? {
                return Ok(level);
            }
        }
        Ok(Level::Info)
    }

    /// Whether messages may have colours.
    ///
    /// # Errors
    ///
    /// As [`level`](Self::level).
    pub fn may_colour(&self, variables: &Variables) -> Result<bool> {
        Ok(!self.nocolor && !variables.is_set(&NOCOLOR)?)
    }
}
