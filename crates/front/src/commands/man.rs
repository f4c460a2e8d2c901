//! `front man`: the manual pages, one for each command.

use anyhow::{Context, Result};
use sys::ExitCode;

use crate::called::Called;
use crate::cli::Man;
use crate::cli::described::described;

/// Writes the manual pages.
///
/// # Errors
///
/// Fails when a page cannot be written.
pub fn run(args: &Man) -> Result<ExitCode> {
    clap_mangen::generate_to(described(Called::Front), &args.directory)
        .with_context(|| format!("write manual pages in {}", args.directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
