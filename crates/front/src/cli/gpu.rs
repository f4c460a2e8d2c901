//! The command line of `front gpu`.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::flags::RegistryFlags;

/// `front gpu`.
#[derive(Debug, Args)]
pub struct Gpu {
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// The subcommand. Without one, this host's GPUs are shown.
    #[command(subcommand)]
    pub command: Option<GpuCommand>,
}

/// The commands of `front gpu`.
#[derive(Debug, Subcommand)]
pub enum GpuCommand {
    /// Show what --nv would inject into an image, and why each library is injected or left out
    #[command(override_usage = "front gpu explain [FLAGS] IMAGE")]
    Explain(GpuExplain),
}

/// `front gpu explain`.
#[derive(Debug, Args)]
pub struct GpuExplain {
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// The image, as for exec
    pub image: OsString,
    /// How an image that is not a file is reached.
    #[command(flatten)]
    pub registry: RegistryFlags,
}
