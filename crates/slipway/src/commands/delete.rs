//! `slipway delete`

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Delete, Global};

pub fn run(global: &Global, args: &Delete) -> Result<ExitCode> {
    match engine::Container::load(&super::root(global)?, &args.id) {
        Ok(container) => container.delete(args.force)?,
        Err(engine::Error::Missing) if args.force => {}
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}
