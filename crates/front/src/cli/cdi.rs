//! The command line of `front cdi`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `front cdi`.
#[derive(Debug, Subcommand)]
pub enum CdiCommand {
    /// Write a CDI file for this host's GPUs or fast networks
    Generate(CdiGenerate),
    /// List the devices in this host's CDI files
    List {
        /// Look for CDI files in these directories
        #[arg(long, value_name = "DIRECTORY", value_delimiter = ',')]
        cdi_dirs: Vec<PathBuf>,
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
}

/// `front cdi generate`.
#[derive(Debug, Args)]
pub struct CdiGenerate {
    /// Describe devices of this class
    #[arg(long, value_enum, default_value = "gpu")]
    pub class: CdiClass,
    /// Describe the GPUs of this vendor (default: all that this host has)
    #[arg(long, value_enum)]
    pub vendor: Option<CdiVendor>,
    /// Write to a file, such as /etc/cdi/nvidia.yaml
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write in this format (default: the one of the file's name, or YAML)
    #[arg(long, value_enum)]
    pub format: Option<CdiFormat>,
    /// Choose libraries for each image with this program of hooks (default:
    /// /usr/local/libexec/slipway/slipway-hook)
    #[arg(long, value_name = "FILE")]
    pub hook: Option<PathBuf>,
    /// Mount all of the driver's libraries instead; for networks, include only the devices
    #[arg(long, conflicts_with = "hook")]
    pub no_hook: bool,
    /// Look for the driver below this directory
    #[arg(long, value_name = "DIRECTORY", default_value = "/")]
    pub driver_root: PathBuf,
}

/// The class of devices in a CDI file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CdiClass {
    /// GPUs.
    Gpu,
    /// Fast networks.
    Fabric,
}

/// A vendor of GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CdiVendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
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
