//! `slipway state`

use anyhow::Result;
use sys::ExitCode;

use crate::cli::Global;

pub fn run(global: &Global, id: &str) -> Result<ExitCode> {
    super::print_json(&super::load(global, id)?.state())?;
    Ok(ExitCode::SUCCESS)
}
