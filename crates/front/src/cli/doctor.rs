//! The command line of `front doctor`.

use std::ffi::OsString;

use clap::Args;

use crate::flags::ContainerFlags;

/// `front doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// The image to check, as for exec, and the command that it would run (default: check only this
    /// host); flags end here
    #[arg(trailing_var_arg = true, value_name = "IMAGE")]
    pub words: Vec<OsString>,
    /// The flags that the container would be started with.
    #[command(flatten)]
    pub flags: ContainerFlags,
}
