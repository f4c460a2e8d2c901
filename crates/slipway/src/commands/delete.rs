//! `slipway delete`

use anyhow::Result;
use sys::ExitCode;

use crate::cli::{Delete, Global};

pub fn run(global: &Global, args: &Delete) -> Result<ExitCode> {
    let root = super::root(global)?;
    match engine::Container::load(&root, &args.id) {
        Ok(container) => container.delete(args.force)?,
        Err(engine::Error::Missing) if args.force => engine::forget(&root, &args.id)?,
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}
