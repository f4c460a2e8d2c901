//! What is typed: the commands and flags, as Singularity has them.

mod cdi;
mod deferred;
mod doctor;
mod gpu;
mod images;
mod instance;
mod keys;
mod sif;

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use deferred::Deferred;

pub use cdi::{CdiClass, CdiCommand, CdiFormat, CdiGenerate, CdiVendor};
pub use doctor::Doctor;
pub use gpu::{Gpu, GpuCommand, GpuExplain};
pub use images::{Build, CacheClean, CacheCommand, CacheList, Inspect, NetworkFlags, Pull, Push};
pub use instance::{InstanceCommand, InstanceList, InstanceStart, InstanceStop};
pub use keys::{
    KeyCommand, KeyExport, KeyNewpair, KeyRemove, RegistryCommand, RegistryLogin, Sign, Verify,
};
pub use sif::{SifAdd, SifCommand};

/// Containers for MPI and GPU jobs, with Singularity's commands.
#[derive(Debug, Parser)]
#[command(name = "front", version = concat!("version ", env!("CARGO_PKG_VERSION")))]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit status: that of the container's program, or 255 when it could not be \
                        started, or 1 for a usage error."
)]
pub struct Cli {
    /// Flags that stand before the command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the words that this program was called with. Most often they start a container: those commands
    /// are tried by themselves, since putting all the others beside them takes a part of a rank's start.
    ///
    /// # Errors
    ///
    /// Fails on words that have no meaning, and when help is asked for.
    pub fn read() -> Result<Self, clap::Error> {
        match Starting::read() {
            Ok(starting) => Ok(starting.into()),
            Err(_) => Self::try_parse(),
        }
    }
}

/// The commands that start a container in the foreground.
#[derive(Debug, Parser)]
struct Starting {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: StartCommand,
}

impl Starting {
    /// As [`Parser::try_parse`], but keeps what clap put together: a process that becomes another program need not take it
    /// apart.
    fn read() -> Result<Self, clap::Error> {
        let mut command = ManuallyDrop::new(Self::command());
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut ManuallyDrop::new(matches))
    }
}

#[derive(Debug, Subcommand)]
enum StartCommand {
    Exec(Deferred<Exec>),
    Run(Deferred<Run>),
    Shell(Deferred<Shell>),
}

impl From<Starting> for Cli {
    fn from(starting: Starting) -> Self {
        Self {
            global: starting.global,
            command: match starting.command {
                StartCommand::Exec(exec) => Command::Exec(exec),
                StartCommand::Run(run) => Command::Run(run),
                StartCommand::Shell(shell) => Command::Shell(shell),
            },
        }
    }
}

/// Flags that stand before the command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Print what is done, step by step
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

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command in an image
    #[command(override_usage = "front exec [FLAGS] IMAGE COMMAND [ARGUMENT]...")]
    Exec(Deferred<Exec>),
    /// Run an image's runscript; without an image, a small one that is built in
    #[command(override_usage = "front run [FLAGS] [IMAGE [ARGUMENT]...]")]
    Run(Deferred<Run>),
    /// Make an image of another
    #[command(override_usage = "front build [FLAGS] IMAGE SOURCE")]
    Build(Deferred<Build>),
    /// List and remove what is kept of images
    #[command(subcommand)]
    Cache(Deferred<CacheCommand>),
    /// Show what an image says of itself
    #[command(override_usage = "front inspect [FLAGS] IMAGE")]
    Inspect(Deferred<Inspect>),
    /// Write and list CDI files, by which other engines know GPUs
    #[command(subcommand)]
    Cdi(Deferred<CdiCommand>),
    /// Tell before a launch what will work, what will be slow and what will fail, and what mends it
    #[command(override_usage = "front doctor [FLAGS] [IMAGE [--] [COMMAND]...]")]
    Doctor(Deferred<Doctor>),
    /// Tell which GPUs this host has, and what an image would get of their driver
    Gpu(Deferred<Gpu>),
    /// Start containers in the background, list and stop them
    #[command(subcommand)]
    Instance(Deferred<InstanceCommand>),
    /// Show the containers of this node's jobs and other programs
    Ps(Deferred<Ps>),
    /// Fetch an image into a SIF
    #[command(override_usage = "front pull [FLAGS] [FILE] SOURCE")]
    Pull(Deferred<Pull>),
    /// Send an image to a registry
    #[command(override_usage = "front push [FLAGS] IMAGE URI")]
    Push(Deferred<Push>),
    /// Say who you are to registries
    #[command(subcommand)]
    Registry(Deferred<RegistryCommand>),
    /// Look into SIFs, and change them
    #[command(subcommand)]
    Sif(Deferred<SifCommand>),
    /// Make, list, import, export and remove the keys that sign
    #[command(subcommand)]
    Key(Deferred<KeyCommand>),
    /// Sign a SIF
    #[command(override_usage = "front sign [FLAGS] SIF")]
    Sign(Deferred<Sign>),
    /// Check who has signed a SIF, and that it is as it was
    #[command(override_usage = "front verify [FLAGS] SIF")]
    Verify(Deferred<Verify>),
    /// Start a shell in an image
    #[command(override_usage = "front shell [FLAGS] IMAGE")]
    Shell(Deferred<Shell>),
}

impl Command {
    /// Whether it does nothing but print what is there.
    pub fn only_prints(&self) -> bool {
        matches!(
            self,
            Self::Ps(_)
                | Self::Cdi(Deferred(CdiCommand::List { .. }))
                | Self::Cache(Deferred(CacheCommand::List(_)))
                | Self::Instance(Deferred(InstanceCommand::List(_)))
                | Self::Key(Deferred(KeyCommand::List { .. }))
                | Self::Registry(Deferred(RegistryCommand::List { .. }))
                | Self::Sif(Deferred(SifCommand::List { .. }))
        )
    }
}

/// `front exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// A SIF, a squashfs, a directory, docker://NAME, oras://NAME, library://NAME, an address, docker-daemon:NAME,
    /// oci:DIRECTORY, oci-archive:FILE, docker-archive:FILE or instance://NAME; then the command and its arguments; flags end here
    #[arg(trailing_var_arg = true, required = true, num_args = 2.., value_names = ["IMAGE", "COMMAND"])]
    pub words: Vec<OsString>,
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
}

/// `front run`.
#[derive(Debug, Args)]
pub struct Run {
    /// An image, as for exec, then the runscript's arguments; flags end here
    #[arg(trailing_var_arg = true, value_name = "IMAGE")]
    pub words: Vec<OsString>,
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
}

/// `front shell`.
#[derive(Debug, Args)]
pub struct Shell {
    /// The shell to start: a path in the image
    #[arg(short, long, value_name = "PATH")]
    pub shell: Option<PathBuf>,
    /// An image, as for exec; flags end here
    #[arg(trailing_var_arg = true, required = true, value_name = "IMAGE")]
    pub words: Vec<OsString>,
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
}

/// `front ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
}

/// The flags of every command that starts a container.
#[derive(Debug, Clone, Default, Args)]
pub struct ContainerFlags {
    /// Bind a path of the host: SOURCE[:DESTINATION[:ro|rw]], several with commas
    #[arg(short = 'B', long, value_name = "SPEC")]
    pub bind: Vec<OsString>,
    /// Set variables inside: NAME=VALUE, several with commas
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<OsString>,
    /// Start with a clean environment
    #[arg(short = 'e', long)]
    pub cleanenv: bool,
    /// Give it an empty home and temporary directories, and only the devices that it needs
    #[arg(short = 'c', long)]
    pub contain: bool,
    /// The same, and processes, shared memory and an environment of its own
    #[arg(short = 'C', long)]
    pub containall: bool,
    /// Give it processes of its own; it sees no others
    #[arg(short, long)]
    pub pid: bool,
    /// Give it shared memory, semaphores and message queues of its own
    #[arg(short, long)]
    pub ipc: bool,
    /// The working directory inside; it must exist
    #[arg(long, alias = "pwd", value_name = "DIRECTORY")]
    pub cwd: Option<PathBuf>,
    /// Lend NVIDIA's driver: devices, libraries and nvidia-smi
    #[arg(long)]
    pub nv: bool,
    /// Lend what AMD's GPUs need: devices, libraries, rocminfo and rocm-smi
    #[arg(long)]
    pub rocm: bool,
    /// Lend devices by their CDI names: VENDOR/CLASS=NAME, several with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub device: Vec<String>,
    /// Where CDI files are
    #[arg(long, value_name = "DIRECTORY", value_delimiter = ',')]
    pub cdi_dirs: Vec<PathBuf>,
    /// Which MPI library ranks of a job get
    #[arg(long, value_enum)]
    pub mpi: Option<MpiMode>,
    /// Give each rank of a job a container of its own; they cannot read each other's memory then
    #[arg(long)]
    pub no_share: bool,
    /// As ever: the ranks of a job on a node share one container
    #[arg(long, hide = true, conflicts_with = "no_share")]
    pub sharens: bool,
    /// Enter the container of a job that runs on this node; `front ps` shows which there are
    #[arg(long, value_name = "JOB[.STEP]")]
    pub join: Option<String>,
    /// Print the OCI config.json instead of running it
    #[arg(long)]
    pub dry_run: bool,
    /// How images that are no files are reached.
    #[command(flatten)]
    pub network: NetworkFlags,
}

/// Which MPI library a program gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MpiMode {
    /// The host's where it can replace the image's, else the image's.
    #[default]
    Auto,
    /// The host's, or none is started.
    Host,
    /// The image's.
    Container,
    /// Whatever it finds: nothing is looked at.
    None,
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
    fn flags_end_at_the_image() {
        let words = |line: &str| match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Exec(Deferred(exec)) => (exec.flags, exec.words),
            other => panic!("{other:?}"),
        };
        let (flags, rest) = words("front exec -B/p:/q --nv img --nv -B x -- y");
        assert!(flags.nv);
        assert_eq!(flags.bind, ["/p:/q"]);
        assert_eq!(rest, ["img", "--nv", "-B", "x", "--", "y"]);
        assert_eq!(words("front exec img -- echo").1, ["img", "--", "echo"]);
        assert_eq!(words("front exec -- img echo").1, ["img", "echo"]);
        assert_eq!(words("front exec --pwd /x img c").0.cwd, Some("/x".into()));
        assert!(Cli::try_parse_from(["front", "exec", "--nosuch", "img", "c"]).is_err());
        assert!(Cli::try_parse_from(["front", "exec", "img"]).is_err());
    }
}
