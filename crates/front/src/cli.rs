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
    /// List and remove what is kept of images
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Show what an image says of itself
    #[command(override_usage = "front inspect [FLAGS] IMAGE")]
    Inspect(Inspect),
    /// Fetch an image into a SIF
    #[command(override_usage = "front pull [FLAGS] [FILE] SOURCE")]
    Pull(Pull),
    /// Send an image to a registry
    #[command(override_usage = "front push [FLAGS] IMAGE URI")]
    Push(Push),
    /// Say who you are to registries
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Look into SIFs, and change them
    #[command(subcommand)]
    Sif(SifCommand),
    /// Make, list, import, export and remove the keys that sign
    #[command(subcommand)]
    Key(KeyCommand),
    /// Sign a SIF
    #[command(override_usage = "front sign [FLAGS] SIF")]
    Sign(Sign),
    /// Check who has signed a SIF, and that it is as it was
    #[command(override_usage = "front verify [FLAGS] SIF")]
    Verify(Verify),
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
    /// Make a directory instead of a SIF
    #[arg(short, long)]
    pub sandbox: bool,
    /// How it is packed
    #[arg(long, value_enum, default_value_t = Compression::Zstd)]
    pub compression: Compression,
    /// How the source is reached.
    #[command(flatten)]
    pub network: NetworkFlags,
    /// The SIF or directory to make
    pub image: PathBuf,
    /// What to make it of: an image's path, docker://NAME, docker-daemon:NAME, oras://NAME, library://NAME,
    /// an address, oci:DIRECTORY, oci-archive:FILE or docker-archive:FILE, the last three with :NAME if they
    /// have several images
    pub source: OsString,
}

/// `front pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// Overwrite the file if it exists
    #[arg(short = 'F', long)]
    pub force: bool,
    /// The directory to put the file in
    #[arg(long, alias = "path", value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
    /// The file's name
    #[arg(long, value_name = "FILE", hide = true)]
    pub name: Option<PathBuf>,
    /// Make a directory instead of a SIF
    #[arg(short, long)]
    pub sandbox: bool,
    /// Nothing is left behind in any case
    #[arg(long, hide = true)]
    pub no_cleanup: bool,
    /// Pull what is not signed, as is done in any case
    #[arg(short = 'U', long, hide = true)]
    pub allow_unsigned: bool,
    /// How the source is reached.
    #[command(flatten)]
    pub network: NetworkFlags,
    /// [FILE] SOURCE: docker://NAME, oras://NAME, library://NAME, an address, docker-daemon:NAME, oci:DIRECTORY,
    /// oci-archive:FILE or docker-archive:FILE
    #[arg(required = true, num_args = 1..=2, value_name = "SOURCE")]
    pub words: Vec<OsString>,
}

/// `front push`.
#[derive(Debug, Args)]
pub struct Push {
    /// Push what is not signed, as is done in any case
    #[arg(short = 'U', long, hide = true)]
    pub allow_unsigned: bool,
    /// How the registry is reached.
    #[command(flatten)]
    pub network: NetworkFlags,
    /// A SIF; or oci:DIRECTORY, oci-archive:FILE or docker-archive:FILE
    pub image: OsString,
    /// oras://NAME for a SIF, docker://NAME for the others
    pub target: String,
}

/// `front inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// All there is, as JSON
    #[arg(long)]
    pub all: bool,
    /// What an application says of itself
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// The definition that it was built of
    #[arg(short, long)]
    pub deffile: bool,
    /// The environment scripts
    #[arg(short, long)]
    pub environment: bool,
    /// The help
    #[arg(short = 'H', long)]
    pub helpfile: bool,
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// The labels, as without flags
    #[arg(short, long)]
    pub labels: bool,
    /// The applications' names
    #[arg(long)]
    pub list_apps: bool,
    /// The runscript
    #[arg(short, long)]
    pub runscript: bool,
    /// The startscript
    #[arg(short, long)]
    pub startscript: bool,
    /// The test
    #[arg(short, long)]
    pub test: bool,
    /// How an image that is no file is reached.
    #[command(flatten)]
    pub network: NetworkFlags,
    /// An image, as for exec
    pub image: OsString,
}

/// `front cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show what is kept
    List(CacheList),
    /// Remove what is kept
    Clean(CacheClean),
}

/// `front cache list`.
#[derive(Debug, Args)]
pub struct CacheList {
    /// Show each entry
    #[arg(short, long)]
    pub verbose: bool,
    /// The types: blob, oci, oras, library, net, extracted, all
    #[arg(
        short = 'T',
        long = "type",
        value_name = "TYPES",
        value_delimiter = ','
    )]
    pub types: Vec<String>,
}

/// `front cache clean`.
#[derive(Debug, Args)]
pub struct CacheClean {
    /// Only what was not used for so many days
    #[arg(short = 'D', long, value_name = "N")]
    pub days: Option<u64>,
    /// Say what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'f', long)]
    pub force: bool,
    /// The types: blob, oci, oras, library, net, extracted, all
    #[arg(
        short = 'T',
        long = "type",
        value_name = "TYPES",
        value_delimiter = ','
    )]
    pub types: Vec<String>,
}

/// `front sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// The key: its number in `front key list --secret`
    #[arg(short, long, value_name = "N")]
    pub keyidx: Option<usize>,
    /// The key: its fingerprint, or the end of it
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "keyidx")]
    pub fingerprint: Option<String>,
    /// Sign one group
    #[arg(short, long, value_name = "N")]
    pub group_id: Option<u32>,
    /// Sign one object
    #[arg(short = 'i', long, value_name = "N")]
    pub sif_id: Option<u32>,
    /// The SIF
    pub image: PathBuf,
}

/// `front verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Verify one group
    #[arg(short, long, value_name = "N")]
    pub group_id: Option<u32>,
    /// Verify one object
    #[arg(short = 'i', long, value_name = "N")]
    pub sif_id: Option<u32>,
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// Use the keys of the keyring only, as is done in any case
    #[arg(short, long, hide = true)]
    pub local: bool,
    /// Verify everything, as is done in any case
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// The SIF
    pub image: PathBuf,
}

/// `front key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys
    List {
        /// Those to sign with
        #[arg(short, long)]
        secret: bool,
    },
    /// Make a key to sign with, and the one that verifies it
    Newpair(KeyNewpair),
    /// Add the keys of a file
    Import {
        /// The file
        file: PathBuf,
    },
    /// Write a key to a file
    Export(KeyExport),
    /// Remove a key
    Remove(KeyRemove),
}

/// `front key newpair`.
#[derive(Debug, Args)]
pub struct KeyNewpair {
    /// Your name (default: asked for)
    #[arg(short = 'N', long)]
    pub name: Option<String>,
    /// Your address (default: asked for)
    #[arg(short = 'E', long)]
    pub email: Option<String>,
    /// A comment
    #[arg(short = 'C', long)]
    pub comment: Option<String>,
    /// What locks the key; an empty one does not (default: asked for)
    #[arg(short = 'P', long)]
    pub password: Option<String>,
    /// An RSA key of so many bits (default: an Ed25519 key)
    #[arg(short, long, value_name = "N")]
    pub bit_length: Option<u32>,
    /// Keys are never sent anywhere
    #[arg(short = 'U', long, hide = true, num_args = 0..=1, require_equals = true)]
    pub push: Option<Option<String>>,
}

/// `front key export`.
#[derive(Debug, Args)]
pub struct KeyExport {
    /// The key to sign with, not the one that verifies
    #[arg(short, long)]
    pub secret: bool,
    /// In letters
    #[arg(short, long)]
    pub armor: bool,
    /// The key: its number in the list
    #[arg(short, long, value_name = "N")]
    pub keyidx: Option<usize>,
    /// The key: its fingerprint, or the end of it
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "keyidx")]
    pub fingerprint: Option<String>,
    /// The file to make
    pub file: PathBuf,
}

/// `front key remove`.
#[derive(Debug, Args)]
pub struct KeyRemove {
    /// The key to sign with as well
    #[arg(short, long)]
    pub both: bool,
    /// The key to verify with, as without flags
    #[arg(short, long, hide = true)]
    pub public: bool,
    /// The key to sign with
    #[arg(short, long, conflicts_with = "both")]
    pub secret: bool,
    /// The key's fingerprint, or the end of it
    pub fingerprint: String,
}

/// `front registry`.
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Keep a user and a password for a registry, if the registry takes them
    Login(RegistryLogin),
    /// Forget them
    Logout {
        /// The file of credentials
        #[arg(long, value_name = "FILE")]
        authfile: Option<PathBuf>,
        /// docker://HOST or oras://HOST
        registry: String,
    },
    /// List the registries that are known
    List {
        /// The file of credentials
        #[arg(long, value_name = "FILE")]
        authfile: Option<PathBuf>,
    },
}

/// `front registry login`.
#[derive(Debug, Args)]
pub struct RegistryLogin {
    /// The user (default: asked for)
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// The password, for all who can list processes to see (default: asked for)
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Take a registry without TLS, or with a certificate that nobody vouches for
    #[arg(long)]
    pub no_https: bool,
    /// The file of credentials
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// docker://HOST or oras://HOST
    pub registry: String,
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
    /// A SIF, a squashfs, a directory, docker://NAME, oras://NAME, library://NAME, an address, docker-daemon:NAME,
    /// oci:DIRECTORY, oci-archive:FILE or docker-archive:FILE; then the command and its arguments; flags end here
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
    /// How images that are no files are reached.
    #[command(flatten)]
    pub network: NetworkFlags,
}

/// How registries, libraries and daemons are reached.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Images that are no files")]
pub struct NetworkFlags {
    /// Take a registry without TLS, or with a certificate that nobody vouches for
    #[arg(long, alias = "nohttps")]
    pub no_https: bool,
    /// Ask for a user and a password for the registry
    #[arg(long)]
    pub docker_login: bool,
    /// The file of credentials
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// The docker daemon: unix://SOCKET
    #[arg(long, value_name = "ADDRESS")]
    pub docker_host: Option<String>,
    /// The library that library:// means
    #[arg(long, value_name = "ADDRESS")]
    pub library: Option<String>,
    /// Keep nothing of what is fetched
    #[arg(long)]
    pub disable_cache: bool,
    /// The architecture, where the image has several: amd64, arm64, ...
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// The variant of the architecture: v2, v3, ...
    #[arg(long, value_name = "NAME")]
    pub arch_variant: Option<String>,
    /// The same as one word: linux/ARCHITECTURE[/VARIANT]
    #[arg(long, value_name = "PLATFORM", conflicts_with = "arch")]
    pub platform: Option<String>,
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
