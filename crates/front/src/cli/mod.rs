//! The command line: commands and flags, as Singularity has them.

mod cdi;
mod config;
pub mod described;
mod doctor;
mod gpu;
mod images;
mod instance;
mod keys;
mod others;
mod overlay;
mod sif;

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use deferred::Deferred;
use described::described;

use crate::called::Called;
use crate::flags::{ContainerFlags, Global, ShellFlags, only_for};

pub use cdi::{CdiClass, CdiCommand, CdiFormat, CdiGenerate, CdiVendor};
pub use config::{ConfigCommand, ConfigGlobal};
pub use doctor::Doctor;
pub use gpu::{Gpu, GpuCommand, GpuExplain};
pub use images::{Build, CacheClean, CacheCommand, CacheType, Inspect, Pull, Push, RunHelp};
pub use instance::{InstanceCommand, InstanceList, InstanceStart, InstanceStats, InstanceStop};
pub use keys::{
    KeyCommand, KeyExport, KeyNewpair, KeyRemove, RegistryCommand, RegistryLogin, Sign, Verify,
};
pub use others::Others;
pub use overlay::{OverlayCommand, OverlayCreate};
pub use sif::{SifAdd, SifCommand};

/// Containers for MPI and GPU jobs, with Singularity's commands.
#[derive(Debug, Parser)]
#[command(name = "front")]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
#[command(args_override_self = true)]
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
    /// Reads this program's arguments. Most often they start a container. So the commands that
    /// start one are tried first, without the others: to define all commands takes a part of a
    /// rank's start.
    ///
    /// # Errors
    ///
    /// Fails on invalid arguments, and when help is requested.
    pub fn read(called: Called) -> Result<Self, clap::Error> {
        let words = called.arguments();
        match only_for(&words, || Starting::read(&words)) {
            Ok(starting) => Ok(starting.into()),
            Err(_) => Self::parse(called, &words).map_err(|error| match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                    let described = described(called).try_get_matches_from(&words);
                    described.err().unwrap_or(error)
                }
                _ => error,
            }),
        }
    }

    fn parse(called: Called, words: &[OsString]) -> Result<Self, clap::Error> {
        let mut command = called.give(Self::command());
        let mut matches = command.try_get_matches_from_mut(words)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// The commands that start a container in the foreground.
#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Starting {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: StartCommand,
}

impl Starting {
    /// Does the same as [`Parser::try_parse`], but does not free clap's data, because this process
    /// becomes another program.
    fn read(words: &[OsString]) -> Result<Self, clap::Error> {
        let mut command = ManuallyDrop::new(Self::command());
        let matches = command.try_get_matches_from_mut(words)?;
        Self::from_arg_matches_mut(&mut ManuallyDrop::new(matches))
    }
}

#[derive(Debug, Subcommand)]
enum StartCommand {
    Exec(Deferred<Exec>),
    Run(Deferred<Run>),
    Shell(Deferred<Shell>),
    Test(Deferred<Test>),
}

impl From<Starting> for Cli {
    fn from(starting: Starting) -> Self {
        Self {
            global: starting.global,
            command: match starting.command {
                StartCommand::Exec(exec) => Command::Exec(exec),
                StartCommand::Run(run) => Command::Run(run),
                StartCommand::Shell(shell) => Command::Shell(shell),
                StartCommand::Test(test) => Command::Test(test),
            },
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command in an image
    #[command(override_usage = "front exec [FLAGS] IMAGE COMMAND [ARGUMENT]...")]
    #[command(
        after_help = "Examples:\n  front exec app.sif python3 train.py\n  front exec --nv -B /lus/data:/data docker://pytorch/pytorch python3 train.py\n  mpirun -np 4 front exec app.sif ./solver\n  srun -n 64 --mpi=pmix front exec app.sif ./solver"
    )]
    Exec(Deferred<Exec>),
    /// Run an image's runscript; without an image, run a small built-in one
    #[command(override_usage = "front run [FLAGS] [IMAGE [ARGUMENT]...]")]
    #[command(after_help = "Examples:\n  front run docker://godlovedc/lolcow\n  front run")]
    Run(Deferred<Run>),
    /// Make an image from another
    #[command(override_usage = "front build [FLAGS] IMAGE SOURCE")]
    #[command(
        after_help = "Examples:\n  front build app.sif docker://python:3.13\n  front build --sandbox app/ app.sif"
    )]
    Build(Deferred<Build>),
    /// Print a script by which a shell completes front's commands and flags
    Completion(Deferred<Completion>),
    /// List and remove cached images
    #[command(subcommand)]
    Cache(Deferred<CacheCommand>),
    /// Show an image's metadata
    #[command(override_usage = "front inspect [FLAGS] IMAGE")]
    Inspect(Deferred<Inspect>),
    /// Write and list CDI files, which describe GPUs to other engines
    #[command(subcommand)]
    Cdi(Deferred<CdiCommand>),
    /// Show before a launch what will work, what will be slow and what will fail, with remedies
    #[command(override_usage = "front doctor [FLAGS] [IMAGE [--] [COMMAND]...]")]
    Doctor(Deferred<Doctor>),
    /// Show this host's GPUs, and the driver files that an image would get
    Gpu(Deferred<Gpu>),
    /// Check the configuration
    #[command(subcommand)]
    Config(Deferred<ConfigCommand>),
    /// Show the help of a command
    #[command(override_usage = "front help [COMMAND]...")]
    Help(Deferred<Help>),
    /// Start, list and stop containers in the background
    #[command(subcommand)]
    Instance(Deferred<InstanceCommand>),
    /// Write the manual pages of all commands to a directory
    Man(Deferred<Man>),
    /// Show the containers of jobs and other programs on this node
    Ps(Deferred<Ps>),
    /// Fetch an image and make a SIF of it
    #[command(override_usage = "front pull [FLAGS] [FILE] SOURCE")]
    #[command(
        after_help = "Examples:\n  front pull docker://python:3.13\n  front pull app.sif oras://registry.example.org/group/app:1"
    )]
    Pull(Deferred<Pull>),
    /// Send an image to a registry
    #[command(override_usage = "front push [FLAGS] IMAGE URI")]
    Push(Deferred<Push>),
    /// Log in to registries and log out
    #[command(subcommand)]
    Registry(Deferred<RegistryCommand>),
    /// Inspect and change SIFs
    #[command(subcommand)]
    Sif(Deferred<SifCommand>),
    /// Make, list, import, export and remove keys for signatures
    #[command(subcommand)]
    Key(Deferred<KeyCommand>),
    /// Sign a SIF
    #[command(override_usage = "front sign [FLAGS] SIF")]
    Sign(Deferred<Sign>),
    /// Check who signed a SIF, and that it has not changed since
    #[command(override_usage = "front verify [FLAGS] SIF")]
    Verify(Deferred<Verify>),
    /// Show the help that an image has
    #[command(override_usage = "front run-help [FLAGS] IMAGE")]
    RunHelp(Deferred<RunHelp>),
    /// Start a shell in an image
    #[command(override_usage = "front shell [FLAGS] IMAGE")]
    #[command(after_help = "Examples:\n  front shell app.sif\n  front shell instance://web")]
    Shell(Deferred<Shell>),
    /// Run the tests of an image
    #[command(override_usage = "front test [FLAGS] IMAGE [ARGUMENT]...")]
    Test(Deferred<Test>),
    /// Print the version alone
    Version,
    /// Make layers for containers
    #[command(subcommand)]
    Overlay(Deferred<OverlayCommand>),
    /// Refused
    #[command(hide = true)]
    Capability(Others),
    /// Refused
    #[command(hide = true)]
    Checkpoint(Others),
    /// Refused
    #[command(hide = true)]
    Delete(Others),
    /// Refused
    #[command(hide = true)]
    Keyserver(Others),
    /// Refused
    #[command(hide = true)]
    Oci(Others),
    /// Refused
    #[command(hide = true)]
    Plugin(Others),
    /// Refused
    #[command(hide = true)]
    Remote(Others),
    /// Refused
    #[command(hide = true)]
    Search(Others),
}

impl Command {
    /// Whether the command only prints what exists.
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
    /// The image (a SIF, a squashfs, a directory, docker://NAME, oras://NAME, library://NAME, a
    /// URL, docker-daemon:NAME, oci:DIRECTORY, oci-archive:FILE, docker-archive:FILE or
    /// instance://NAME), then the command and its arguments; flags end here
    #[arg(trailing_var_arg = true, required = true, num_args = 2.., value_names = ["IMAGE", "COMMAND"])]
    pub words: Vec<OsString>,
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
}

/// `front run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The image, as for exec, then the runscript's arguments; flags end here
    #[arg(trailing_var_arg = true, value_name = "IMAGE")]
    pub words: Vec<OsString>,
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
}

/// `front test`.
#[derive(Debug, Args)]
pub struct Test {
    /// The image, as for exec, then the tests' arguments; flags end here
    #[arg(trailing_var_arg = true, required = true, value_name = "IMAGE")]
    pub words: Vec<OsString>,
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
}

/// `front shell`.
#[derive(Debug, Args)]
pub struct Shell {
    /// The flags for the shell to start.
    #[command(flatten)]
    pub shell: ShellFlags,
    /// The image, as for exec; flags end here
    #[arg(trailing_var_arg = true, required = true, value_name = "IMAGE")]
    pub words: Vec<OsString>,
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
}

/// `front completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `front man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory, which must exist
    pub directory: PathBuf,
}

/// `front help`.
#[derive(Debug, Args)]
pub struct Help {
    /// The command, and those below it
    pub command: Vec<String>,
}

/// `front ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
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
        assert!(flags.devices.nv);
        assert_eq!(flags.mounts.bind, ["/p:/q"]);
        assert_eq!(rest, ["img", "--nv", "-B", "x", "--", "y"]);
        assert_eq!(words("front exec img -- echo").1, ["img", "--", "echo"]);
        assert_eq!(words("front exec -- img echo").1, ["img", "echo"]);
        assert_eq!(
            words("front exec --pwd /x img c").0.environment.cwd,
            Some("/x".into())
        );
        // The last one of a flag that is repeated counts, as in Singularity.
        let (flags, _) = words("front exec --nv --nv --pwd /x --pwd /y -B a -B b img c");
        assert_eq!(flags.environment.cwd, Some("/y".into()));
        assert_eq!(flags.mounts.bind, ["a", "b"]);
        assert!(Cli::try_parse_from(["front", "exec", "--nosuch", "img", "c"]).is_err());
        assert!(Cli::try_parse_from(["front", "exec", "img"]).is_err());
    }
}
