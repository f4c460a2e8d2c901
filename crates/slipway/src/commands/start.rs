//! `slipway start`

use anyhow::Result;
use sys::ExitCode;

use crate::cli::Global;

pub fn run(global: &Global, id: &str) -> Result<ExitCode> {
    let mut container = super::load(global, id)?;
    match super::notify_socket() {
        Some(manager) => container.start_and_notify(&manager)?,
        None => container.start()?,
    }
    Ok(ExitCode::SUCCESS)
}
