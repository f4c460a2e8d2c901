//! The command line, compatible with runc's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use deferred::Deferred;

/// Returns what `--version` prints behind the program's name, in runc's form, which engines read.
fn version() -> &'static str {
    static LINES: LazyLock<String> = LazyLock::new(|| {
        let commit = text::COMMIT.map_or(String::new(), |commit| format!("\ncommit: {commit}"));
        format!("version {}{commit}\nspec: 1.3.0", env!("CARGO_PKG_VERSION"))
    });
    &LINES
}

/// The form of runc's help.
const HELP: &str = "NAME:\n   {name} - {about}\n\nUSAGE:\n   {usage}\n\n{all-args}";

impl Cli {
    /// Reads the command line. Help, version and errors have runc's name where a link has it, since
    /// scripts look for that.
    ///
    /// # Errors
    ///
    /// Returns the error that clap prints, which may be the help.
    pub fn of(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut words = words.into_iter().peekable();
        let called = words.peek().map(Path::new).and_then(Path::file_name);
        let name = match called {
            Some(name) if name == "runc" => "runc",
            _ => "slipway",
        };
        let command = Self::command()
            .name(name)
            .bin_name(name)
            .help_template(HELP)
            .mut_subcommands(|command| {
                let name = format!("{name} {}", command.get_name());
                command.display_name(name).help_template(HELP)
            });
        let matches = command.try_get_matches_from(words)?;
        let command = matches.subcommand_name();
        let command =
            command.filter(|command| name == "runc" && ["run", "create"].contains(command));
        Ok(Self {
            prefix: command.map(|command| format!("{name} {command} failed: ")),
            ..Self::from_arg_matches(&matches)?
        })
    }
}

/// Open Container Initiative runtime on libcontainer.
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
#[command(version = version())]
#[command(disable_version_flag = true)]
pub struct Cli {
    /// Flags that come before the command.
    #[command(flatten)]
    pub global: Global,
    /// Print the version
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// The beginning of an error under runc's name.
    #[arg(skip)]
    pub prefix: Option<String>,
}

/// Flags that come before the command.
#[derive(Debug, Args)]
pub struct Global {
    /// Log each step in detail
    #[arg(long)]
    pub debug: bool,
    /// Append the log to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Choose the log's format
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Keep the state of containers in this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub root: Option<PathBuf>,
    /// Let systemd manage the cgroups
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Ignore cgroup permission errors: true, false or auto
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub rootless: String,
    /// Add the hooks of this directory, as podman does: oci-hooks(5)
    #[arg(long, value_name = "DIRECTORY")]
    pub hooks_dir: Vec<PathBuf>,
    /// Use this program to save and restore processes
    #[arg(long, value_name = "FILE", default_value = "criu")]
    pub criu: PathBuf,
}

/// Formats of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// logfmt.
    Text,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a container
    Create(Deferred<Create>),
    /// Start a created container
    Start(Deferred<Id>),
    /// Print a container's state
    State(Deferred<Id>),
    /// Send a signal to a container
    Kill(Deferred<Kill>),
    /// Delete a container
    Delete(Deferred<Delete>),
    /// Create and start a container
    Run(Deferred<Run>),
    /// Start another process in a container
    Exec(Deferred<Exec>),
    /// Freeze a container's processes
    Pause(Deferred<Id>),
    /// Resume a frozen container's processes
    Resume(Deferred<Id>),
    /// List a container's processes
    Ps(Deferred<Ps>),
    /// Print a container's statistics and events
    Events(Deferred<Events>),
    /// Change a container's resource limits
    Update(Deferred<Box<Update>>),
    /// Save a container's processes to files with CRIU
    Checkpoint(Deferred<Box<Checkpoint>>),
    /// Restore saved processes
    Restore(Deferred<Box<Restore>>),
    /// List containers
    List(Deferred<List>),
    /// Write a specification file as a starting point
    Spec(Deferred<Spec>),
    /// Print what this runtime supports
    Features,
}

/// Options of CRIU for checkpoint and restore.
#[derive(Debug, Args)]
pub struct Criu {
    /// Use this directory for the saved files (default: checkpoint)
    #[arg(long, value_name = "DIRECTORY")]
    pub image_path: Option<PathBuf>,
    /// Use this directory for CRIU's log (default: that of the saved files)
    #[arg(long, value_name = "DIRECTORY")]
    pub work_path: Option<PathBuf>,
    /// Keep established TCP connections
    #[arg(long)]
    pub tcp_established: bool,
    /// Allow unix sockets that are connected to the outside
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Allow processes that belong to a session outside
    #[arg(long)]
    pub shell_job: bool,
    /// Allow file locks
    #[arg(long)]
    pub file_locks: bool,
    /// Leave memory behind and fetch it on first use
    #[arg(long)]
    pub lazy_pages: bool,
    /// Save duplicate memory only once
    #[arg(long)]
    pub auto_dedup: bool,
    /// Manage cgroups in this mode
    #[arg(long, value_name = "MODE", value_parser = ["soft", "full", "strict", "ignore"])]
    pub manage_cgroups_mode: Option<String>,
    /// Create this namespace but leave it empty
    #[arg(long, value_name = "NAMESPACE", value_parser = ["network"])]
    pub empty_ns: Option<String>,
}

/// `slipway checkpoint`.
#[derive(Debug, Args)]
pub struct Checkpoint {
    #[command(flatten)]
    pub criu: Criu,
    /// Continue from an earlier --pre-dump, relative to the directory of the files
    #[arg(long, value_name = "DIRECTORY")]
    pub parent_path: Option<PathBuf>,
    /// Leave the container running
    #[arg(long)]
    pub leave_running: bool,
    /// Skip TCP connections that are not yet established
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Link deleted files again
    #[arg(long)]
    pub link_remap: bool,
    /// Write a zero byte to this descriptor when ready to serve memory
    #[arg(long, value_name = "FD")]
    pub status_fd: Option<i32>,
    /// Send memory to this page server
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<String>,
    /// Save only the memory and leave the container running
    #[arg(long)]
    pub pre_dump: bool,
    /// The container's id
    pub id: String,
}

/// `slipway restore`.
#[derive(Debug, Args)]
pub struct Restore {
    #[command(flatten)]
    pub criu: Criu,
    /// Use the bundle in this directory
    #[arg(short, long, value_name = "DIRECTORY", default_value = ".")]
    pub bundle: PathBuf,
    /// Do not wait until the container ends
    #[arg(short, long)]
    pub detach: bool,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Has no effect: a container with a terminal cannot be restored
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub console_socket: Option<PathBuf>,
    /// Has no effect: no orphans are adopted
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
    /// Has no effect: CRIU mounts the root
    #[arg(long, hide = true)]
    pub no_pivot: bool,
    /// Use this profile of the Linux security module
    #[arg(long, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// Use this SELinux context for mounts that have one
    #[arg(long, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
    /// The container's id
    pub id: String,
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
    /// Use the bundle in this directory
    #[arg(short, long, value_name = "DIRECTORY", default_value = ".")]
    pub bundle: PathBuf,
    /// Send the terminal's master to this socket
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring and its keys
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass this many additional descriptors, from 3 up
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u16,
    /// Send a pidfd of the container's first process to this socket
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Use this specification instead of the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `slipway exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// Send the terminal's master to this socket
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Send a pidfd of the process to this socket
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Set the working directory in the container
    #[arg(long, value_name = "DIRECTORY")]
    pub cwd: Option<String>,
    /// Set a variable, NAME=VALUE
    #[arg(short, long, value_name = "VARIABLE")]
    pub env: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Run as this user: UID or UID:GID
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Add these groups
    #[arg(short = 'g', long, value_name = "GID", value_delimiter = ',')]
    pub additional_gids: Vec<u32>,
    /// Read the process from a file in the specification's format
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Do not wait until the process ends
    #[arg(short, long)]
    pub detach: bool,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Use this SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// Use this AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Prevent the process from gaining privileges
    #[arg(long)]
    pub no_new_privs: bool,
    /// Add a capability
    #[arg(short, long, value_name = "CAPABILITY")]
    pub cap: Vec<String>,
    /// Pass this many additional descriptors, from 3 up
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u16,
    /// Put the process into a cgroup below the container's: PATH or CONTROLLERS:PATH
    #[arg(long, value_name = "CGROUP")]
    pub cgroup: Vec<String>,
    /// Start the process even if the container is frozen
    #[arg(long)]
    pub ignore_paused: bool,
    /// The container's id
    pub id: String,
    /// The command and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub command: Vec<String>,
}

/// `slipway ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Choose the format
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
    /// The container's id
    pub id: String,
    /// Pass these options to ps(1) (default: -ef)
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTION"
    )]
    pub options: Vec<String>,
}

/// `slipway events`.
#[derive(Debug, Args)]
pub struct Events {
    /// The container's id
    pub id: String,
    /// Print the statistics once and exit
    #[arg(long)]
    pub stats: bool,
    /// Print the statistics at this interval: 500ms, 5s, 1m30s
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub interval: String,
}

/// `slipway update`. Sizes accept the units k, m and g. Limits without a flag stay as they are.
#[derive(Debug, Args)]
pub struct Update {
    /// The container's id
    pub id: String,
    /// Read the resources from a file (- for standard input) in the specification's format, and
    /// ignore other flags
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Set the weight of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    /// Set the period of CPU limits, in microseconds
    #[arg(long, value_name = "TIME")]
    pub cpu_period: Option<u64>,
    /// Set the CPU time per period, in microseconds; -1 for no limit
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// Set the CPU time that may be accumulated, in microseconds
    #[arg(long, value_name = "TIME")]
    pub cpu_burst: Option<u64>,
    /// Set the weight of CPU time
    #[arg(long, alias = "cpu-shares", value_name = "SHARES")]
    pub cpu_share: Option<u64>,
    /// Set the period of real-time limits, in microseconds
    #[arg(long, value_name = "TIME")]
    pub cpu_rt_period: Option<u64>,
    /// Set the real time per period, in microseconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// Give the container only idle CPU time: 0 or 1
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<i64>,
    /// Set the CPUs: 0-3,8
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Set the memory nodes: 0-1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Set the memory limit, in bytes; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Set the memory reservation, in bytes
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// Set the limit of memory and swap together, in bytes; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Set the largest number of processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Set the share of the L3 cache, such as L3:0=f
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// Set the share of the memory bandwidth, such as MB:0=50
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
    /// Has no effect: the kernel no longer has this limit
    #[arg(long, value_name = "SIZE", hide = true)]
    pub kernel_memory: Option<String>,
    /// Has no effect: the kernel no longer has this limit
    #[arg(long, value_name = "SIZE", hide = true)]
    pub kernel_memory_tcp: Option<String>,
}

/// `slipway run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The arguments of `create`.
    #[command(flatten)]
    pub create: Create,
    /// Do not wait until the container ends
    #[arg(short, long)]
    pub detach: bool,
    /// Keep the container's state after it ends
    #[arg(long)]
    pub keep: bool,
    /// Has no effect: orphans of the container are never adopted
    #[arg(long)]
    pub no_subreaper: bool,
}

/// `slipway kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// The container's id
    pub id: String,
    /// Send this signal: a name, with or without SIG, or a number
    #[arg(default_value = "SIGTERM")]
    pub signal: String,
    /// Send the signal to all processes of the container
    #[arg(short, long)]
    pub all: bool,
}

/// `slipway delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The container's id
    pub id: String,
    /// Kill a running container first, and accept a missing one
    #[arg(short, long)]
    pub force: bool,
}

/// `slipway list`.
#[derive(Debug, Args)]
pub struct List {
    /// Choose the format
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
    /// Print only the ids
    #[arg(short, long)]
    pub quiet: bool,
}

/// Formats of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Aligned columns.
    Table,
    /// A JSON array of states.
    Json,
}

/// `slipway spec`.
#[derive(Debug, Args)]
pub struct Spec {
    /// Write the file to this bundle's directory
    #[arg(short, long, value_name = "DIRECTORY", default_value = ".")]
    pub bundle: PathBuf,
    /// Write a specification for a user without root
    #[arg(long)]
    pub rootless: bool,
}

#[cfg(test)]
mod tests;
