//! The command line of `front instance`.

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
    /// Start an image's runscript in the background, under a name
    #[command(override_usage = "front instance run [FLAGS] IMAGE NAME [ARGUMENT]...")]
    Run(InstanceStart),
    /// List the instances on this host
    List(InstanceList),
    /// Show the processor time, memory and storage that an instance uses
    Stats(InstanceStats),
    /// Stop instances
    Stop(InstanceStop),
}

/// `front instance start` and `run`.
#[derive(Debug, Args)]
pub struct InstanceStart {
    /// The image, as for exec, the instance's name, and the script's arguments; flags end here
    #[arg(trailing_var_arg = true, required = true, num_args = 2.., value_name = "IMAGE NAME")]
    pub words: Vec<OsString>,
    /// Write the process ID of the instance's first process to a file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
}

/// `front instance list`.
#[derive(Debug, Args)]
pub struct InstanceList {
    /// Show only instances whose name matches this pattern, as a shell matches file names
    #[arg(default_value = "*")]
    pub name: String,
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// Show the files that the instances write to
    #[arg(short, long)]
    pub logs: bool,
    /// Name the user whose instances are meant: only the one who runs the command
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
    /// Do nothing: all instances are shown in any case
    #[arg(short, long, hide = true)]
    pub all: bool,
}

/// `front instance stats`.
#[derive(Debug, Args)]
pub struct InstanceStats {
    /// The instance's name
    pub name: String,
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// Measure once, during a second, instead of until the instance ends
    #[arg(long)]
    pub no_stream: bool,
}

/// `front instance stop`.
#[derive(Debug, Args)]
pub struct InstanceStop {
    /// Stop the instances whose name matches this pattern, as a shell matches file names
    #[arg(required_unless_present = "all")]
    pub name: Option<String>,
    /// Stop all instances
    #[arg(short, long, conflicts_with = "name")]
    pub all: bool,
    /// Name the user whose instances are meant: only the one who runs the command
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
    /// Ask the instances to end with this signal, given by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGINT")]
    pub signal: String,
    /// Wait this many seconds before the instances are killed
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    pub timeout: u32,
    /// Kill the instances at once
    #[arg(short = 'F', long)]
    pub force: bool,
}
