//! An OCI hook that lends AMD's GPUs to containers that ask for them, by `AMD_VISIBLE_DEVICES`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use hook::{Container, Error};
use inject::{Choice, Host, Vendor, Wanted, rocm};

fn main() -> ExitCode {
    hook::main("slipway-hook-rocm", run)
}

fn run(container: &Container, enter: &dyn Fn() -> Result<Host, Error>) -> Result<(), Error> {
    let asked = container.variable("AMD_VISIBLE_DEVICES");
    let Some(asked) = asked.filter(|asked| !asked.is_empty() && *asked != "void") else {
        return Ok(());
    };
    let host = enter()?;
    let gpus = rocm::gpus(&host);
    let nodes = Choice::parse(asked)
        .nodes(&gpus)
        .map_err(|error| Error::Refused(error.to_string()))?;
    hook::apply(container, &host, |root| {
        let (edits, driver) = hook::lend(&host, root, &Wanted::all(vec![Vendor::Amd]))?;
        match driver {
            Some(_) => Ok((edits, nodes)),
            None => Err(Error::Refused(
                "the container asks for AMD's GPUs, and this host has no driver for them"
                    .to_owned(),
            )),
        }
    })
}
