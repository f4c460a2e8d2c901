//! The state root: the containers in it, and what interrupted runtimes left there.

use std::fs;
use std::io;
use std::path::Path;

use crate::shadow_bundle::remove_directories;
use crate::{Container, Error, claims, identifier};

/// Returns the containers in a state root, by id.
///
/// # Errors
///
/// Fails when the root cannot be read. A root that does not exist has no containers.
pub fn list(root: &Path) -> Result<Vec<Container>, Error> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::state("read", root)(error)),
    };
    let mut ids: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|id| identifier::check(id).is_ok())
        .collect();
    ids.sort();
    Ok(ids
        .iter()
        .filter_map(|id| Container::load(root, id).ok())
        .collect())
}

/// Removes what a runtime that was killed early left of a container that was never completed.
///
/// # Errors
///
/// Fails when the id is invalid, or something cannot be removed.
pub fn forget(root: &Path, id: &str) -> Result<(), Error> {
    identifier::check(id)?;
    claims::end_creation(root, id, true)?;
    remove_directories(root, id)
}
