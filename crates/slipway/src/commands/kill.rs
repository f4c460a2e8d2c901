//! `slipway kill`

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Global, Kill};
use crate::signals;

pub fn run(global: &Global, args: &Kill) -> Result<ExitCode> {
    let signal = signals::parse(&args.signal)?;
    super::load(global, &args.id)?.kill(signal, args.all)?;
    Ok(ExitCode::SUCCESS)
}
