//! The command line of `front overlay`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `front overlay`.
#[derive(Debug, Subcommand)]
pub enum OverlayCommand {
    /// Make an ext3 image that can be a layer of a container
    #[command(override_usage = "front overlay create [FLAGS] FILE")]
    Create(OverlayCreate),
}

/// `front overlay create`.
#[derive(Debug, Args)]
pub struct OverlayCreate {
    /// The file, which must not exist
    pub file: PathBuf,
    /// The size in MiB, at least 64
    #[arg(short, long, value_name = "MIB", default_value_t = 64)]
    pub size: u64,
    /// Let the file take space on the disk only as it is filled
    #[arg(short = 'S', long)]
    pub sparse: bool,
    /// Make this directory in the layer
    #[arg(long, value_name = "DIRECTORY")]
    pub create_dir: Vec<PathBuf>,
    /// Do nothing: the layer belongs to the user who makes it, who may be root inside
    #[arg(short, long, hide = true)]
    pub fakeroot: bool,
}
