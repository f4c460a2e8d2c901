//! The command line of `front config`.

use std::ffi::OsString;

use clap::{Args, Subcommand};

/// `front config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration files, and list settings that have no effect
    Check,
    /// Print a setting of Apptainer's configuration, as it is in effect
    #[command(override_usage = "front config global --get KEY")]
    Global(ConfigGlobal),
    /// Refused
    #[command(hide = true)]
    Fakeroot {
        /// Anything
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        words: Vec<OsString>,
    },
}

/// `front config global`.
#[derive(Debug, Args)]
pub struct ConfigGlobal {
    /// Print the values of this key
    #[arg(short, long, value_name = "KEY", required_unless_present_any = ["set", "unset", "reset"])]
    pub get: Option<String>,
    /// Refused: the file is the administrator's
    #[arg(short, long, num_args = 1.., hide = true)]
    pub set: Vec<String>,
    /// Refused: the file is the administrator's
    #[arg(short, long, num_args = 1.., hide = true)]
    pub unset: Vec<String>,
    /// Refused: the file is the administrator's
    #[arg(short, long, hide = true)]
    pub reset: Vec<String>,
}
