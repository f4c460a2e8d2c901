//! `slipway start`

use anyhow::Result;
use sys::ExitCode;

use crate::cli::Global;

pub fn run(global: &Global, id: &str) -> Result<ExitCode> {
    super::load(global, id)?.start()?;
    Ok(ExitCode::SUCCESS)
}
