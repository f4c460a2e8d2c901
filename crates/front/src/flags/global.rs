//! The flags for the amount of messages.

use anyhow::Result;
use clap::Args;

use super::Variable;
use crate::messages::{Level, Messages};
use crate::variables::Variables;

/// Flags that precede the command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Print each step
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

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[DEBUG, VERBOSE, QUIET, SILENT, NOCOLOR];

impl Global {
    /// Combines the flags and their variables.
    ///
    /// # Errors
    ///
    /// Fails on variables with invalid values.
    pub fn messages(&self, variables: &Variables) -> Result<Messages> {
        Ok(Messages::new(
            self.level(variables)?,
            self.may_colour(variables)?,
        ))
    }

    /// Combines flags and variables.
    ///
    /// # Errors
    ///
    /// Fails on invalid values.
    fn level(&self, variables: &Variables) -> Result<Level> {
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
    /// Fails as [`level`](Self::level) does.
    fn may_colour(&self, variables: &Variables) -> Result<bool> {
        // https://no-color.org
        let by_convention = variables.text("NO_COLOR").is_some();
        Ok(!self.nocolor && !by_convention && !variables.is_set(&NOCOLOR)?)
    }
}
