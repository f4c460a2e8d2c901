//! The paths of the host that a request shows.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bundle::{Bind, parse_binds};

use crate::caller::Caller;
use crate::cli::ContainerFlags;

pub(super) fn absolute(path: &Path, caller: &Caller) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path.components().collect());
    }
    let cwd = caller
        .cwd
        .as_ref()
        .context("the working directory is gone")?;
    Ok(cwd.join(path).components().collect())
}

pub(super) fn binds(flags: &ContainerFlags, caller: &Caller) -> Result<Vec<Bind>> {
    let variables = ["BIND", "BINDPATH"]
        .iter()
        .filter_map(|name| caller.variables.flag(name))
        .map(|(_, value)| value.to_owned());
    let mut binds = Vec::new();
    for argument in flags.bind.iter().cloned().chain(variables) {
        for mut bind in parse_binds(&argument)? {
            bind.source = absolute(&bind.source, caller)?;
            if let Err(error) = std::fs::metadata(&bind.source) {
                bail!(
                    "bind source {}: {}",
                    bind.source.display(),
                    sys::words(&error)
                );
            }
            binds.push(bind);
        }
    }
    Ok(binds)
}
