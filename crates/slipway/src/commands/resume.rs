//! `slipway resume`

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Global;

pub fn run(global: &Global, id: &str) -> Result<ExitCode> {
    super::load(global, id)?.resume()?;
    Ok(ExitCode::SUCCESS)
}
