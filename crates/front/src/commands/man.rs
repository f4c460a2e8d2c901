//! `front man`: the manual pages, a page a command.

use anyhow::{Context, Result};
use sys::ExitCode;

use crate::cli::Man;
use crate::cli::described::described;

/// Writes them.
///
/// # Errors
///
/// Fails when a page cannot be written.
pub fn run(args: &Man) -> Result<ExitCode> {
    clap_mangen::generate_to(described(), &args.directory)
        .with_context(|| format!("write manual pages in {}", args.directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
