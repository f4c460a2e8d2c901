//! CDI files: what is typed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `front cdi`.
#[derive(Debug, Subcommand)]
pub enum CdiCommand {
    /// Write a CDI file about the GPUs of this host, or about its fast networks
    Generate(CdiGenerate),
    /// List the devices that this host's CDI files have
    List {
        /// Where CDI files are
        #[arg(long, value_name = "DIRECTORY", value_delimiter = ',')]
        cdi_dirs: Vec<PathBuf>,
    },
}

/// `front cdi generate`.
#[derive(Debug, Args)]
pub struct CdiGenerate {
    /// What it is about
    #[arg(long, value_enum, default_value = "gpu")]
    pub class: CdiClass,
    /// Whose GPUs; without it, those that there are
    #[arg(long, value_enum)]
    pub vendor: Option<CdiVendor>,
    /// Write to a file, such as /etc/cdi/nvidia.yaml
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The format; without it, as the file's name says, else YAML
    #[arg(long, value_enum)]
    pub format: Option<CdiFormat>,
    /// The hook that chooses libraries for each image; without it, the one in /usr/local/libexec/slipway
    #[arg(long, value_name = "FILE")]
    pub hook: Option<PathBuf>,
    /// Mount all of the driver's libraries instead; of networks, have the devices alone
    #[arg(long, conflicts_with = "hook")]
    pub no_hook: bool,
    /// Where the driver is installed
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    pub driver_root: PathBuf,
}

/// What a CDI file is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CdiClass {
    /// GPUs.
    Gpu,
    /// Fast networks.
    Fabric,
}

/// Whose GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CdiVendor {
    /// NVIDIA's.
    Nvidia,
    /// AMD's.
    Amd,
}

/// Formats of CDI files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CdiFormat {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}
