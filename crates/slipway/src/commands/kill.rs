//! `slipway kill`

use anyhow::{Context, Result};
use sys::ExitCode;

use crate::cli::{Global, Kill};

pub fn run(global: &Global, args: &Kill) -> Result<ExitCode> {
    let signal = text::signal_number(&args.signal)
        .with_context(|| format!("unknown signal {:?}", args.signal))?;
    super::load(global, &args.id)?.kill(signal, args.all)?;
    Ok(ExitCode::SUCCESS)
}
