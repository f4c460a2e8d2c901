//! An OCI hook that has the host's MPI library replace that of the image, for containers with the
//! annotation `com.hooks.mpi.enabled=true`, as Sarus has it.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use elf::Loader;
use hook::{Arguments, Container, Error};
use inject::mpi::{self, Hints};
use inject::{Edits, Host};
use tree::Directory;

/// What asks for it.
const ANNOTATION: &str = "com.hooks.mpi.enabled";

fn main() -> ExitCode {
    hook::main("slipway-hook-mpi", run)
}

fn run(
    container: &Container,
    arguments: &Arguments,
    enter: &dyn Fn() -> Result<Host, Error>,
) -> Result<(), Error> {
    if container.annotation(ANNOTATION) != Some("true") {
        return Ok(());
    }
    let host = enter()?;
    hook::apply(container, &host, |root| {
        let edits = edits(container, arguments, &host, root)?;
        Ok((edits, Vec::new()))
    })
}

fn edits(
    container: &Container,
    arguments: &Arguments,
    host: &Host,
    root: &Directory,
) -> Result<Edits, Error> {
    let refused = |reason: String| {
        Error::Refused(format!(
            "the host's MPI cannot stand in for the image's: {reason}"
        ))
    };
    let machine =
        inject::machine(root).ok_or_else(|| refused("the image has no programs".to_owned()))?;
    let mut loader = Loader::new(root, machine).map_err(Error::Look)?;
    let library_path = container.variable("LD_LIBRARY_PATH").map(OsStr::new);
    loader.set_library_path(library_path.unwrap_or_default());
    let program = container.program(root);
    let program = program.as_deref().unwrap_or(Path::new("/"));
    let found = mpi::find(&loader, root, (root, program)).map_err(Error::Look)?;
    let found = found.ok_or_else(|| refused("it has none".to_owned()))?;
    let hints = Hints {
        prefixes: arguments.prefix.iter().cloned().collect(),
        ..Hints::default()
    };
    let (files, path) = &found.by;
    let need = mpi::Wanted {
        family: found.family,
        own: found.implementation.as_ref(),
    };
    let swap = mpi::swap(
        host,
        root,
        machine,
        (*files, path),
        library_path,
        need,
        &hints,
    );
    let swap = swap.map_err(Error::Look)?.map_err(refused)?;
    let mut edits = Edits::default();
    swap.host_libraries
        .add_to(&mut edits, root, machine)
        .map_err(Error::Look)?;
    Ok(edits)
}
