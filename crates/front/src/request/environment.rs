//! The variables that a user sets.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, bail};

use crate::caller::Caller;
use crate::cli::ContainerFlags;

/// `--env A=1,B=2`: a piece without `=` belongs to the value before it.
pub(super) fn overrides(
    flags: &ContainerFlags,
    caller: &Caller,
) -> Result<Vec<(OsString, OsString)>> {
    let mut pairs: Vec<(OsString, OsString)> = Vec::new();
    for argument in &flags.env {
        let mut of_this: Vec<(OsString, OsString)> = Vec::new();
        for piece in argument.as_bytes().split(|byte| *byte == b',') {
            match (
                piece.iter().position(|byte| *byte == b'='),
                of_this.last_mut(),
            ) {
                (Some(at), _) => {
                    let (name, value) = (piece.get(..at), piece.get(at + 1..));
                    let text = |bytes: Option<&[u8]>| {
                        OsStr::from_bytes(bytes.unwrap_or_default()).to_owned()
                    };
                    of_this.push((text(name), text(value)));
                }
                (None, Some((_, value))) => {
                    value.push(",");
                    value.push(OsStr::from_bytes(piece));
                }
                (None, None) => bail!("--env {}: expected NAME=VALUE", argument.display()),
            }
        }
        // Of two flags the later wins.
        pairs.splice(0..0, of_this.into_iter().rev());
    }
    pairs.extend(caller.variables.overrides());
    pairs.retain(|(name, _)| !name.is_empty());
    let mut seen = std::collections::BTreeSet::new();
    pairs.retain(|(name, _)| seen.insert(name.clone()));
    Ok(pairs)
}
