//! `front completion`: a script by which a shell completes commands and flags.

use std::io::Write;

use anyhow::{Context, Result};
use sys::ExitCode;

use crate::called::Called;
use crate::cli::Completion;
use crate::cli::described::described;

/// Prints the script.
///
/// # Errors
///
/// Fails when the script cannot be written.
pub fn run(args: &Completion, called: Called) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut described(called), called.name(), &mut text);
    let written = std::io::stdout().lock().write_all(&text);
    written.context("print the completion")?;
    Ok(ExitCode::SUCCESS)
}
