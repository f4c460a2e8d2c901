//! The doctor: what is typed.

use std::ffi::OsString;

use clap::Args;

use crate::flags::ContainerFlags;

/// `front doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// An image, as for exec, then the command that it would run; without them, this host alone. Flags end here
    #[arg(trailing_var_arg = true, value_name = "IMAGE")]
    pub words: Vec<OsString>,
    /// The flags that the container would be started with.
    #[command(flatten)]
    pub flags: ContainerFlags,
}
