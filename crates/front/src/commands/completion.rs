//! `front completion`: what a shell reads to complete commands and flags.

use std::io::Write;

use anyhow::{Context, Result};
use sys::ExitCode;

use crate::cli::Completion;
use crate::cli::described::described;

/// Prints it.
///
/// # Errors
///
/// Fails when it cannot be written.
pub fn run(args: &Completion) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut described(), "front", &mut text);
    let written = std::io::stdout().lock().write_all(&text);
    written.context("print the completion")?;
    Ok(ExitCode::SUCCESS)
}
