//! `slipway state`

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Global;

pub fn run(global: &Global, id: &str) -> Result<ExitCode> {
    super::print_json(&engine::Container::load(&super::root(global)?, id)?.state())?;
    Ok(ExitCode::SUCCESS)
}
