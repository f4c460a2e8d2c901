//! `slipway resume`

use anyhow::Result;
use sys::ExitCode;

use crate::cli::Global;

pub fn run(global: &Global, id: &str) -> Result<ExitCode> {
    super::load(global, id)?.resume()?;
    Ok(ExitCode::SUCCESS)
}
