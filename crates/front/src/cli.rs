//! What is typed: the commands and flags, as Singularity has them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    Exec(Exec),
    /// Run an image's runscript; without an image, a small one that is built in
    #[command(override_usage = "front run [FLAGS] [IMAGE [ARGUMENT]...]")]
    Run(Run),
    /// Make an image of another
    #[command(override_usage = "front build [FLAGS] IMAGE SOURCE")]
    Build(Build),
    /// Look into SIFs, and change them
    #[command(subcommand)]
    Sif(SifCommand),
    /// Start a shell in an image
    #[command(override_usage = "front shell [FLAGS] IMAGE")]
    Shell(Shell),
}

/// `front build`.
#[derive(Debug, Args)]
pub struct Build {
    /// Overwrite the image if it exists
    #[arg(short = 'F', long)]
    pub force: bool,
    /// Let the owner read, write and enter everything in it
    #[arg(long)]
    pub fix_perms: bool,
    /// The architecture, where the source has several
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// How it is packed
    #[arg(long, value_enum, default_value_t = Compression::Zstd)]
    pub compression: Compression,
    /// The SIF to make
    pub image: PathBuf,
    /// oci:DIRECTORY, oci-archive:FILE or docker-archive:FILE, each with :NAME if it has several images
    pub source: String,
}

/// `front sif`.
#[derive(Debug, Subcommand)]
pub enum SifCommand {
    /// Print the global header
    Header {
        /// The SIF
        path: PathBuf,
    },
    /// List the objects
    List {
        /// The SIF
        path: PathBuf,
    },
    /// Print what is known of an object
    Info {
        /// The object
        id: u32,
        /// The SIF
        path: PathBuf,
    },
    /// Write an object to standard output
    Dump {
        /// The object
        id: u32,
        /// The SIF
        path: PathBuf,
    },
    /// Make an empty SIF
    New {
        /// The SIF
        path: PathBuf,
    },
    /// Add an object
    Add(Box<SifAdd>),
    /// Delete an object
    Del {
        /// The object
        id: u32,
        /// The SIF
        path: PathBuf,
    },
    /// Make a partition the primary one
    Setprim {
        /// The object
        id: u32,
        /// The SIF
        path: PathBuf,
    },
}

/// `front sif add`.
#[derive(Debug, Args)]
pub struct SifAdd {
    /// What it is: 1 definition file, 2 variables, 3 labels, 4 partition, 5 signature, 6 JSON, 7 anything,
    /// 8 message, 9 SBOM, 10 OCI index, 11 OCI blob
    #[arg(long, value_name = "N")]
    pub datatype: u32,
    /// Its name (default: none)
    #[arg(long, value_name = "NAME")]
    pub filename: Option<String>,
    /// Its group; 0 is none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub groupid: u32,
    /// The object it is about; 0 is none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub link: u32,
    /// A partition's architecture: 1 386, 2 amd64, 3 arm, 4 arm64, 6 ppc64le, 11 s390x, 12 riscv64, ...
    #[arg(long, value_name = "N")]
    pub partarch: Option<u32>,
    /// A partition's file system: 1 squashfs, 2 ext3, 3 archive, 4 raw
    #[arg(long, value_name = "N")]
    pub partfs: Option<u32>,
    /// What a partition is for: 1 system, 2 primary system, 3 data, 4 overlay
    #[arg(long, value_name = "N")]
    pub parttype: Option<u32>,
    /// A signature's hash: 1 SHA-256, 2 SHA-384, 3 SHA-512, 4 BLAKE2s, 5 BLAKE2b
    #[arg(long, value_name = "N")]
    pub signhash: Option<u32>,
    /// The fingerprint of a signature's key, 40 hexadecimal digits
    #[arg(long, value_name = "FINGERPRINT")]
    pub signentity: Option<String>,
    /// The SIF
    pub path: PathBuf,
    /// The object's content
    pub object: PathBuf,
}

/// How a SIF is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// Small, and fast to read.
    Zstd,
    /// For runtimes that know nothing else.
    Gzip,
}

impl From<Compression> for image::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Zstd => Self::Zstd,
            Compression::Gzip => Self::Gzip,
        }
    }
}

/// `front exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
    /// A SIF, a squashfs, a directory, or oci:, oci-archive: or docker-archive: and where; then the command and
    /// its arguments; flags end here
    #[arg(trailing_var_arg = true, required = true, num_args = 2.., value_name = "IMAGE COMMAND")]
    pub words: Vec<OsString>,
}

/// `front run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
    /// An image, as for exec, then the runscript's arguments; flags end here
    #[arg(trailing_var_arg = true, value_name = "IMAGE")]
    pub words: Vec<OsString>,
}

/// `front shell`.
#[derive(Debug, Args)]
pub struct Shell {
    /// The flags of every command that starts a container.
    #[command(flatten)]
    pub flags: ContainerFlags,
    /// The shell to start: a path in the image
    #[arg(short, long, value_name = "PATH")]
    pub shell: Option<PathBuf>,
    /// An image, as for exec; flags end here
    #[arg(trailing_var_arg = true, required = true, value_name = "IMAGE")]
    pub words: Vec<OsString>,
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
    /// The working directory inside; it must exist
    #[arg(long, alias = "pwd", value_name = "DIRECTORY")]
    pub cwd: Option<PathBuf>,
    /// Lend NVIDIA's driver: devices, libraries and nvidia-smi
    #[arg(long)]
    pub nv: bool,
    /// Print the OCI config.json instead of running it
    #[arg(long)]
    pub dry_run: bool,
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
            Command::Exec(exec) => (exec.flags, exec.words),
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
