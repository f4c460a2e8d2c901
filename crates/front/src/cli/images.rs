//! Having images and making them: what is typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::flags::NetworkFlags;

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
    /// The SIF or directory to make
    pub image: PathBuf,
    /// What to make it of: an image's path, docker://NAME, docker-daemon:NAME, oras://NAME, library://NAME,
    /// an address, oci:DIRECTORY, oci-archive:FILE or docker-archive:FILE, the last three with :NAME if they
    /// have several images
    pub source: OsString,
    /// How the source is reached.
    #[command(flatten)]
    pub network: NetworkFlags,
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
    #[arg(long, value_name = "FILE")]
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
    /// The file to make, if not named after the image; then the source: docker://NAME, oras://NAME,
    /// library://NAME, an address, docker-daemon:NAME, oci:DIRECTORY, oci-archive:FILE or docker-archive:FILE
    #[arg(required = true, num_args = 1..=2, value_name = "SOURCE")]
    pub words: Vec<OsString>,
    /// How the source is reached.
    #[command(flatten)]
    pub network: NetworkFlags,
}

/// `front push`.
#[derive(Debug, Args)]
pub struct Push {
    /// Push what is not signed, as is done in any case
    #[arg(short = 'U', long, hide = true)]
    pub allow_unsigned: bool,
    /// A SIF; or oci:DIRECTORY, oci-archive:FILE or docker-archive:FILE
    pub image: OsString,
    /// oras://NAME for a SIF, docker://NAME for the others
    pub target: String,
    /// How the registry is reached.
    #[command(flatten)]
    pub network: NetworkFlags,
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
    /// An image, as for exec
    pub image: OsString,
    /// How an image that is no file is reached.
    #[command(flatten)]
    pub network: NetworkFlags,
}

/// `front cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show what is kept
    List(CacheList),
    /// Remove what is kept
    Clean(CacheClean),
}

/// Which entries of the cache.
#[derive(Debug, Args)]
pub struct CacheTypes {
    /// The types, several with commas; all where none is named
    #[arg(
        short = 'T',
        long = "type",
        value_name = "TYPES",
        value_delimiter = ',',
        value_enum
    )]
    pub names: Vec<CacheType>,
}

/// A type of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CacheType {
    /// Layers and documents of images, as a registry has them.
    #[value(alias = "blobs")]
    Blob,
    /// SIFs made of such images.
    Oci,
    /// SIFs from registries.
    Oras,
    /// SIFs from a library.
    Library,
    /// SIFs from elsewhere on the network.
    Net,
    /// Images that were unpacked, where nothing can mount them.
    Extracted,
    /// Which entry a name led to when it was last looked up.
    Reference,
    /// Facts that were found out about an image and the host.
    Discovery,
    /// Kept by Singularity; there is none of it here.
    #[value(hide = true)]
    Shub,
    /// All of them.
    All,
}

/// `front cache list`.
#[derive(Debug, Args)]
pub struct CacheList {
    /// Show each entry
    #[arg(short, long)]
    pub verbose: bool,
    /// Which entries.
    #[command(flatten)]
    pub types: CacheTypes,
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
    /// Which entries.
    #[command(flatten)]
    pub types: CacheTypes,
}
