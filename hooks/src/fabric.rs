//! The hook that injects the libraries and devices that a container's image lacks for the host's
//! fast networks. It acts on containers with the annotation `com.hooks.fabric.enabled=true`.

use std::ffi::OsStr;

use inject::fabric::{self, Program};
use inject::{Edits, Host, View};
use rootfs::{Directory, Files};

use crate::{Arguments, Container, Error, apply};

/// The annotation that requests the injection.
const ANNOTATION: &str = "com.hooks.fabric.enabled";

/// Runs the hook.
pub(crate) fn run(
    container: &Container,
    arguments: &Arguments,
    enter: &dyn Fn() -> Result<Host, Error>,
) -> Result<(), Error> {
    let asked = container.annotation(ANNOTATION) == Some("true");
    if !asked && !arguments.libraries {
        return Ok(());
    }
    let host = enter()?;
    apply(container, &host, |root| {
        let edits = edits(container, &host, root)?;
        // With `--libraries`, the container gets the nodes in another way: by the name of a device.
        let nodes = match arguments.libraries {
            true => Vec::new(),
            false => fabric::nodes(&host),
        };
        Ok((edits, nodes))
    })
}

fn edits(container: &Container, host: &Host, root: &Directory) -> Result<Edits, Error> {
    let Some(machine) = inject::machine(root) else {
        return Ok(Edits::default());
    };
    let view = View {
        host,
        image: root,
        machine,
        library_path: container.variable("LD_LIBRARY_PATH").map(OsStr::new),
    };
    let program = container.program(root);
    let program = Program {
        file: program.as_deref().map(|path| (root as &dyn Files, path)),
        ..Program::default()
    };
    let resolved = fabric::resolve(view, program).map_err(Error::Look)?;
    Edits::default()
        .with_libraries(&resolved.host_libraries, root, machine)
        .map_err(Error::Look)
}
