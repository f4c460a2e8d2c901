//! Instances: what is typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::flags::ContainerFlags;

/// `front instance`.
#[derive(Debug, Subcommand)]
pub enum InstanceCommand {
    /// Start an image's startscript in the background, under a name
    #[command(override_usage = "front instance start [FLAGS] IMAGE NAME [ARGUMENT]...")]
    Start(InstanceStart),
    /// The same with the runscript
    #[command(override_usage = "front instance run [FLAGS] IMAGE NAME [ARGUMENT]...")]
    Run(InstanceStart),
    /// List the instances on this host
    List(InstanceList),
    /// Stop instances
    Stop(InstanceStop),
}

/// `front instance start` and `run`.
#[derive(Debug, Args)]
pub struct InstanceStart {
    /// An image, as for exec, and a name; then the script's arguments; flags end here
    #[arg(trailing_var_arg = true, required = true, num_args = 2.., value_name = "IMAGE NAME")]
    pub words: Vec<OsString>,
    /// Write the id of the instance's first process to a file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
}

/// `front instance list`.
#[derive(Debug, Args)]
pub struct InstanceList {
    /// Those whose name matches, as a shell matches file names
    #[arg(default_value = "*")]
    pub name: String,
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// Show the files that they write to
    #[arg(short, long)]
    pub logs: bool,
    /// Show all, as is done in any case
    #[arg(short, long, hide = true)]
    pub all: bool,
}

/// `front instance stop`.
#[derive(Debug, Args)]
pub struct InstanceStop {
    /// Those whose name matches, as a shell matches file names
    #[arg(required_unless_present = "all")]
    pub name: Option<String>,
    /// All of them
    #[arg(short, long, conflicts_with = "name")]
    pub all: bool,
    /// The signal that asks them to end, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGINT")]
    pub signal: String,
    /// How many seconds they have before they are killed
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    pub timeout: u32,
    /// Kill them at once
    #[arg(short = 'F', long)]
    pub force: bool,
}
