//! GPUs: what is typed.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::flags::NetworkFlags;

/// `front gpu`.
#[derive(Debug, Args)]
pub struct Gpu {
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// What to tell, if not what this host has.
    #[command(subcommand)]
    pub command: Option<GpuCommand>,
}

/// The commands of `front gpu`.
#[derive(Debug, Subcommand)]
pub enum GpuCommand {
    /// Tell what --nv would inject into an image, and why each library is taken or left
    #[command(override_usage = "front gpu explain [FLAGS] IMAGE")]
    Explain(GpuExplain),
}

/// `front gpu explain`.
#[derive(Debug, Args)]
pub struct GpuExplain {
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// An image, as for exec
    pub image: OsString,
    /// How images that are no files are reached.
    #[command(flatten)]
    pub network: NetworkFlags,
}
