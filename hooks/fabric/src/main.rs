//! An OCI hook that injects what a container's image lacks to reach the host's fast networks, for containers
//! with the annotation `com.hooks.fabric.enabled=true`.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::process::ExitCode;

use hook::{Arguments, Container, Error};
use inject::fabric::{self, Program};
use inject::{Edits, Host};
use tree::{Directory, Files};

/// What asks for it.
const ANNOTATION: &str = "com.hooks.fabric.enabled";

fn main() -> ExitCode {
    hook::main("slipway-hook-fabric", run)
}

fn run(
    container: &Container,
    arguments: &Arguments,
    enter: &dyn Fn() -> Result<Host, Error>,
) -> Result<(), Error> {
    let asked = container.annotation(ANNOTATION) == Some("true");
    if !asked && !arguments.libraries {
        return Ok(());
    }
    let host = enter()?;
    hook::apply(container, &host, |root| {
        let edits = edits(container, &host, root)?;
        // Who asks by a device's name gets the nodes from where that is told.
        let nodes = match arguments.libraries {
            true => Vec::new(),
            false => fabric::nodes(&host),
        };
        Ok((edits, nodes))
    })
}

fn edits(container: &Container, host: &Host, root: &Directory) -> Result<Edits, Error> {
    let mut edits = Edits::default();
    let Some(machine) = inject::machine(root) else {
        return Ok(edits);
    };
    let program = container.program(root);
    let program = Program {
        file: program.as_deref().map(|path| (root as &dyn Files, path)),
        library_path: container.variable("LD_LIBRARY_PATH").map(OsStr::new),
        ..Program::default()
    };
    let resolved = fabric::resolve(host, root, machine, program).map_err(Error::Look)?;
    if !resolved.host_libraries.mounts.is_empty() {
        let put = resolved.host_libraries.add_to(&mut edits, root, machine);
        put.map_err(Error::Look)?;
    }
    Ok(edits)
}
