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
#[command(version = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0"))]
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
    /// Add the hooks of a directory, as podman does: oci-hooks(5)
    #[arg(long, value_name = "DIRECTORY")]
    pub hooks_dir: Vec<PathBuf>,
    /// The program that saves and restores processes
    #[arg(long, value_name = "FILE", default_value = "criu")]
    pub criu: PathBuf,
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
    /// Start another process in a container
    Exec(Exec),
    /// Freeze a container's processes
    Pause(Id),
    /// Let the processes of a frozen container go on
    Resume(Id),
    /// List a container's processes
    Ps(Ps),
    /// Print a container's statistics and events
    Events(Events),
    /// Change a container's resource limits
    Update(Box<Update>),
    /// Save a container's processes to files, by CRIU
    Checkpoint(Box<Checkpoint>),
    /// Bring saved processes back
    Restore(Box<Restore>),
    /// List containers
    List(List),
    /// Write a specification file to begin with
    Spec(Spec),
    /// Print what this runtime supports
    Features,
}

/// What CRIU is told for saving and for bringing back.
#[derive(Debug, Args)]
pub struct Criu {
    /// The directory of the saved files (default: checkpoint)
    #[arg(long, value_name = "DIRECTORY")]
    pub image_path: Option<PathBuf>,
    /// The directory of CRIU's log (default: that of the files)
    #[arg(long, value_name = "DIRECTORY")]
    pub work_path: Option<PathBuf>,
    /// Keep TCP connections
    #[arg(long)]
    pub tcp_established: bool,
    /// Let unix sockets lead out of the container
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Let processes belong to a session outside
    #[arg(long)]
    pub shell_job: bool,
    /// Let files be locked
    #[arg(long)]
    pub file_locks: bool,
    /// Leave memory behind, and fetch it when it is used
    #[arg(long)]
    pub lazy_pages: bool,
    /// Save memory once that was saved twice
    #[arg(long)]
    pub auto_dedup: bool,
    /// How to deal with cgroups
    #[arg(long, value_name = "MODE", value_parser = ["soft", "full", "strict", "ignore"])]
    pub manage_cgroups_mode: Option<String>,
    /// Make a namespace, and leave it empty
    #[arg(long, value_name = "NAMESPACE", value_parser = ["network"])]
    pub empty_ns: Option<String>,
}

/// `slipway checkpoint`.
#[derive(Debug, Args)]
pub struct Checkpoint {
    #[command(flatten)]
    pub criu: Criu,
    /// An earlier --pre-dump, relative to the directory of the files
    #[arg(long, value_name = "DIRECTORY")]
    pub parent_path: Option<PathBuf>,
    /// Let the container run on
    #[arg(long)]
    pub leave_running: bool,
    /// Leave out connections that are being made
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Link files again that were removed
    #[arg(long)]
    pub link_remap: bool,
    /// A descriptor to write a zero byte to when ready to serve memory
    #[arg(long, value_name = "FD")]
    pub status_fd: Option<i32>,
    /// Where to send memory to
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<String>,
    /// Save the memory alone, and let the container run on
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
    /// The bundle's directory
    #[arg(short, long, value_name = "DIRECTORY", default_value = ".")]
    pub bundle: PathBuf,
    /// Do not wait for the container's end
    #[arg(short, long)]
    pub detach: bool,
    /// A file to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Has no effect: a container with a terminal cannot be restored
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub console_socket: Option<PathBuf>,
    /// Has no effect: no process is adopted
    #[arg(long, hide = true)]
    pub no_subreaper: bool,
    /// Has no effect: CRIU makes the root
    #[arg(long, hide = true)]
    pub no_pivot: bool,
    /// The security module's profile
    #[arg(long, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// The context of mounts that have one
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
    /// Keep the session keyring of the caller, with the keys in it
    #[arg(long)]
    pub no_new_keyring: bool,
    /// How many more descriptors the container inherits, from 3 up
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u16,
    /// A socket to send a pidfd of the container's first process to
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Another specification than the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `slipway exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// A socket to send the terminal's master to
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// A socket to send a pidfd of the process to
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// The working directory inside
    #[arg(long, value_name = "DIRECTORY")]
    pub cwd: Option<String>,
    /// Set a variable, NAME=VALUE
    #[arg(short, long, value_name = "VARIABLE")]
    pub env: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// The user: UID or UID:GID
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Additional groups
    #[arg(short = 'g', long, value_name = "GID", value_delimiter = ',')]
    pub additional_gids: Vec<u32>,
    /// The process, in a file, in the specification's terms
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Do not wait for the process's end
    #[arg(short, long)]
    pub detach: bool,
    /// A file to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// The SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// The AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Let the process gain no privileges
    #[arg(long)]
    pub no_new_privs: bool,
    /// Give a capability more
    #[arg(short, long, value_name = "CAPABILITY")]
    pub cap: Vec<String>,
    /// How many more descriptors the process inherits, from 3 up
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u16,
    /// Put the process into a cgroup below the container's: PATH or CONTROLLERS:PATH
    #[arg(long, value_name = "CGROUP")]
    pub cgroup: Vec<String>,
    /// Enter a frozen container too
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
    /// The format
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
    /// The container's id
    pub id: String,
    /// Options for ps(1), -ef if there are none
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
    /// Print the statistics once
    #[arg(long)]
    pub stats: bool,
    /// How often to print them: 500ms, 5s, 1m30s
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub interval: String,
}

/// `slipway update`. Sizes take k, m and g; what is not named stays.
#[derive(Debug, Args)]
pub struct Update {
    /// The container's id
    pub id: String,
    /// The resources, in a file (- for standard input), in the specification's terms; flags count for nothing then
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// The weight of block input and output, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    /// The period of CPU limits, in microseconds
    #[arg(long, value_name = "TIME")]
    pub cpu_period: Option<u64>,
    /// The CPU time in a period, in microseconds; -1 for no limit
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// The CPU time that may be saved up, in microseconds
    #[arg(long, value_name = "TIME")]
    pub cpu_burst: Option<u64>,
    /// The weight of CPU time
    #[arg(long, alias = "cpu-shares", value_name = "SHARES")]
    pub cpu_share: Option<u64>,
    /// The period of real-time limits, in microseconds
    #[arg(long, value_name = "TIME")]
    pub cpu_rt_period: Option<u64>,
    /// The real time in a period, in microseconds
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// Whether the container gets only idle CPU time: 0 or 1
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<i64>,
    /// The CPUs: 0-3,8
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// The memory nodes: 0-1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// The memory limit, in bytes; -1 for none
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// The memory reservation, in bytes
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// The limit of memory and swap together, in bytes; -1 for none
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// How many processes there may be; -1 for any number
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// The share of the cache, as L3:0=f
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// The share of the memory's bandwidth, as MB:0=50
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
    /// Has no effect: the kernel has no such limit any more
    #[arg(long, value_name = "SIZE", hide = true)]
    pub kernel_memory: Option<String>,
    /// Has no effect: the kernel has no such limit any more
    #[arg(long, value_name = "SIZE", hide = true)]
    pub kernel_memory_tcp: Option<String>,
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
mod tests;
