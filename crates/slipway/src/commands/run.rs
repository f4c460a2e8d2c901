//! `slipway run`

use anyhow::Result;
use engine::Foreground;
use sys::ExitCode;

use crate::cli::{Global, Run};

pub fn run(global: &Global, args: Run) -> Result<ExitCode> {
    let mode = if args.detach {
        Foreground::Detached
    } else {
        Foreground::Attached { keep: args.keep }
    };
    let code = engine::run(super::create::request(global, args.create)?, mode)?;
    Ok(ExitCode::from(code))
}
