//! The hook that replaces the image's MPI library by the host's. It acts on containers with the
//! annotation `com.hooks.mpi.enabled=true`, as in Sarus.

use std::ffi::OsStr;
use std::path::Path;

use elf::Loader;
use inject::mpi::{self, Hints};
use inject::{Edits, Host, View};
use rootfs::Directory;

use crate::{Arguments, Container, Error, apply};

/// The annotation that requests the replacement.
const ANNOTATION: &str = "com.hooks.mpi.enabled";

/// Runs the hook.
pub(crate) fn run(
    container: &Container,
    arguments: &Arguments,
    enter: &dyn Fn() -> Result<Host, Error>,
) -> Result<(), Error> {
    if container.annotation(ANNOTATION) != Some("true") {
        return Ok(());
    }
    let host = enter()?;
    apply(container, &host, |root| {
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
            "the host's MPI cannot replace the image's: {reason}"
        ))
    };
    let machine = inject::machine(root).ok_or_else(|| {
        refused("cannot determine the image's architecture: it has no known program".to_owned())
    })?;
    let view = View {
        host,
        image: root,
        machine,
        library_path: container.variable("LD_LIBRARY_PATH").map(OsStr::new),
    };
    let mut loader = Loader::new(root, machine).map_err(Error::Look)?;
    loader.set_library_path(view.library_path.unwrap_or_default());
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
    let swap = mpi::swap(view, (*files, path), need, &hints);
    let swap = swap.map_err(Error::Look)?.map_err(refused)?;
    Edits::default()
        .with_libraries(&swap.host_libraries, root, machine)
        .map_err(Error::Look)
}
