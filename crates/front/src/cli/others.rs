//! Commands of Singularity's that front refuses, each with the reason.

use std::ffi::OsString;

use clap::Args;

/// The words of a command that is refused.
#[derive(Debug, Args)]
pub struct Others {
    /// Anything
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub words: Vec<OsString>,
}
