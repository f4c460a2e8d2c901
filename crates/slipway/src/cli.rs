//! The command line, as runc has it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// An OCI runtime on libcontainer.
#[derive(Debug, Parser)]
#[command(
    name = "slipway",
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
#[command(version = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.2.0"))]
#[command(disable_version_flag = true)]
pub struct Cli {
    /// Flags that stand before the command.
    #[command(flatten)]
    pub global: Global,
    /// Print the version
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that stand before the command.
#[derive(Debug, Args)]
pub struct Global {
    /// Log what is done in detail
    #[arg(long)]
    pub debug: bool,
    /// Append the log to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// The log's format
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Where containers' state is kept
    #[arg(long, value_name = "DIRECTORY")]
    pub root: Option<PathBuf>,
    /// Have systemd manage the cgroups
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Ignore cgroup permission errors: true, false or auto
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub rootless: String,
}

/// Formats of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// logfmt.
    Text,
    /// One object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a container
    Create(Create),
    /// Start a created container
    Start(Id),
    /// Print a container's state
    State(Id),
    /// Send a signal to a container
    Kill(Kill),
    /// Delete a container
    Delete(Delete),
    /// Create and start a container
    Run(Run),
    /// List containers
    List(List),
    /// Write a specification file to begin with
    Spec(Spec),
    /// Print what this runtime supports
    Features,
}

/// A container's id.
#[derive(Debug, Args)]
pub struct Id {
    /// The container's id
    pub id: String,
}

/// `slipway create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The container's id
    pub id: String,
    /// The bundle's directory
    #[arg(short, long, value_name = "DIRECTORY", default_value = ".")]
    pub bundle: PathBuf,
    /// A socket to send the terminal's master to
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// A file to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root
    #[arg(long)]
    pub no_pivot: bool,
    /// Do not create a new session keyring (none is created)
    #[arg(long)]
    pub no_new_keyring: bool,
    /// How many more descriptors the container inherits, from 3 up
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: i32,
}

/// `slipway run`.
#[derive(Debug, Args)]
pub struct Run {
    /// What `create` takes.
    #[command(flatten)]
    pub create: Create,
    /// Do not wait for the container's end
    #[arg(short, long)]
    pub detach: bool,
    /// Keep the container's state after its end
    #[arg(long)]
    pub keep: bool,
    /// Do not become the reaper of the container's orphans (it never does)
    #[arg(long)]
    pub no_subreaper: bool,
}

/// `slipway kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// The container's id
    pub id: String,
    /// The signal: a name, with or without SIG, or a number
    #[arg(default_value = "SIGTERM")]
    pub signal: String,
    /// Send it to all processes of the container
    #[arg(short, long)]
    pub all: bool,
}

/// `slipway delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The container's id
    pub id: String,
    /// End a running container first; a missing one is no error
    #[arg(short, long)]
    pub force: bool,
}

/// `slipway list`.
#[derive(Debug, Args)]
pub struct List {
    /// The format
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Formats of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Columns.
    Table,
    /// An array of states.
    Json,
}

/// `slipway spec`.
#[derive(Debug, Args)]
pub struct Spec {
    /// The bundle's directory
    #[arg(short, long, value_name = "DIRECTORY", default_value = ".")]
    pub bundle: PathBuf,
    /// For a user without root
    #[arg(long)]
    pub rootless: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_table_of_flags_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn takes_what_podman_and_containerd_give() {
        let lines = [
            "slipway --log-format=json --log /x create --bundle /b --pid-file /p --no-pivot id",
            "slipway --root /r --log /l --log-format json --systemd-cgroup start id",
            "slipway kill id 9",
            "slipway kill --all id SIGKILL",
            "slipway delete --force id",
            "slipway run --detach -b /b --no-new-keyring --preserve-fds 2 id",
            "slipway list -f json",
            "slipway features",
        ];
        for line in lines {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        assert!(Cli::try_parse_from(["slipway", "frobnicate"]).is_err());
    }
}
