//! The command lines of the commands that get, make and inspect images.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::flags::{BuildFlags, RegistryFlags};

/// `front build`.
#[derive(Debug, Args)]
pub struct Build {
    /// Overwrite the image if it exists
    #[arg(short = 'F', long)]
    pub force: bool,
    /// Let the owner read, write and enter everything in the image
    #[arg(long)]
    pub fix_perms: bool,
    /// Make a directory instead of a SIF
    #[arg(short, long)]
    pub sandbox: bool,
    /// Compress the SIF with this method
    #[arg(long, value_enum, default_value_t = Compression::Zstd)]
    pub compression: Compression,
    /// Refused: encrypted images are not supported
    #[arg(short, long, hide = true)]
    pub encrypt: bool,
    /// Refused: encrypted images are not supported
    #[arg(long, hide = true)]
    pub passphrase: bool,
    /// Refused: encrypted images are not supported
    #[arg(long, value_name = "FILE", hide = true)]
    pub pem_path: Option<PathBuf>,
    /// Refused: a definition file is text
    #[arg(long, hide = true)]
    pub json: bool,
    /// Refused: an image is bound as data with -B IMAGE:PATH:image-src=/
    #[arg(long, hide = true)]
    pub data: bool,
    /// The SIF or directory to make
    pub image: PathBuf,
    /// The source: a definition file, a Dockerfile, docker-build:DIRECTORY, an image's path, docker://NAME, docker-daemon:NAME, oras://NAME, library://NAME,
    /// a URL, oci:DIRECTORY, oci-archive:FILE or docker-archive:FILE; add :NAME to the last three
    /// if they have several images
    pub source: OsString,
    /// How a definition file is built.
    #[command(flatten)]
    pub recipe: BuildFlags,
    /// How the source is reached.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// The compression of a SIF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// Small, and fast to read.
    Zstd,
    /// For runtimes that support no other.
    Gzip,
}

impl From<Compression> for pack::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Zstd => Self::Zstd,
            Compression::Gzip => Self::Gzip,
        }
    }
}

/// `front pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// Overwrite the file if it exists
    #[arg(short = 'F', long)]
    pub force: bool,
    /// Put the file in this directory
    #[arg(long, alias = "path", value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
    /// Give the file this name
    #[arg(long, value_name = "FILE")]
    pub name: Option<PathBuf>,
    /// Make a directory instead of a SIF
    #[arg(short, long)]
    pub sandbox: bool,
    /// Do nothing: no temporary files are left behind in any case
    #[arg(long, hide = true)]
    pub no_cleanup: bool,
    /// Do nothing: unsigned images are pulled in any case
    #[arg(short = 'U', long, hide = true)]
    pub allow_unsigned: bool,
    /// The file to make (default: named after the image), then the source: docker://NAME,
    /// oras://NAME, library://NAME, a URL, docker-daemon:NAME, oci:DIRECTORY, oci-archive:FILE or
    /// docker-archive:FILE
    #[arg(required = true, num_args = 1..=2, value_name = "SOURCE")]
    pub words: Vec<OsString>,
    /// How the source is reached.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// `front push`.
#[derive(Debug, Args)]
pub struct Push {
    /// Do nothing: unsigned images are pushed in any case
    #[arg(short = 'U', long, hide = true)]
    pub allow_unsigned: bool,
    /// The image to push: a SIF, oci:DIRECTORY, oci-archive:FILE or docker-archive:FILE
    pub image: OsString,
    /// The destination: oras://NAME for a SIF, docker://NAME for other images
    pub target: String,
    /// How the registry is reached.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// `front run-help`.
#[derive(Debug, Args)]
pub struct RunHelp {
    /// Show the help of this application
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// The image, as for exec
    pub image: OsString,
    /// How an image that is not a file is reached.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// `front inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Show everything, as JSON
    #[arg(long)]
    pub all: bool,
    /// Show the metadata of this application
    #[arg(long, value_name = "NAME")]
    pub app: Option<String>,
    /// Show the definition file that the image was built from
    #[arg(short, long)]
    pub deffile: bool,
    /// Show the environment scripts
    #[arg(short, long)]
    pub environment: bool,
    /// Show the help
    #[arg(short = 'H', long)]
    pub helpfile: bool,
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// Show the labels, as without flags
    #[arg(short, long)]
    pub labels: bool,
    /// List the applications
    #[arg(long)]
    pub list_apps: bool,
    /// Show the runscript
    #[arg(short, long)]
    pub runscript: bool,
    /// Show the startscript
    #[arg(short, long)]
    pub startscript: bool,
    /// Show the test
    #[arg(short, long)]
    pub test: bool,
    /// The image, as for exec
    pub image: OsString,
    /// How an image that is not a file is reached.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// `front cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List the entries of the cache
    List(CacheList),
    /// Remove entries of the cache
    Clean(CacheClean),
}

/// The types of cache entries to list or remove.
#[derive(Debug, Args)]
pub struct CacheTypes {
    /// Choose these types, separated by commas (default: all)
    #[arg(
        short = 'T',
        long = "type",
        value_name = "TYPES",
        value_delimiter = ',',
        value_enum
    )]
    pub names: Vec<CacheType>,
}

/// A type of cache entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CacheType {
    /// Layers and documents of images from registries.
    #[value(alias = "blobs")]
    Blob,
    /// SIFs made from these images.
    Oci,
    /// SIFs from registries.
    Oras,
    /// SIFs from a library.
    Library,
    /// SIFs from elsewhere on the network.
    Net,
    /// Images that were unpacked because they could not be mounted.
    Extracted,
    /// Names, with the entry that each led to at its last lookup.
    Reference,
    /// Discovered facts about an image and the host.
    Discovery,
    /// Changes that steps of builds have made.
    Build,
    /// Entries of Singularity, which this cache never has.
    #[value(hide = true)]
    Shub,
    /// All types.
    All,
}

/// `front cache list`.
#[derive(Debug, Args)]
pub struct CacheList {
    /// Show each entry
    #[arg(short, long)]
    pub verbose: bool,
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// The types of entries.
    #[command(flatten)]
    pub types: CacheTypes,
}

/// `front cache clean`.
#[derive(Debug, Args)]
pub struct CacheClean {
    /// Remove only entries that were not used for this many days
    #[arg(short = 'D', long, value_name = "N")]
    pub days: Option<u64>,
    /// Show what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not ask for confirmation
    #[arg(short = 'f', long)]
    pub force: bool,
    /// The types of entries.
    #[command(flatten)]
    pub types: CacheTypes,
}
