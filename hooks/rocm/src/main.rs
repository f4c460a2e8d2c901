//! An OCI hook that injects AMD's GPUs to containers that ask for them, by `AMD_VISIBLE_DEVICES`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use hook::{Arguments, Container, Error};
use inject::{Host, Vendor, Wanted, rocm};

fn main() -> ExitCode {
    hook::main("slipway-hook-rocm", run)
}

fn run(
    container: &Container,
    arguments: &Arguments,
    enter: &dyn Fn() -> Result<Host, Error>,
) -> Result<(), Error> {
    let asked = match arguments.libraries {
        true => "none",
        false => container
            .variable("AMD_VISIBLE_DEVICES")
            .unwrap_or_default(),
    };
    if asked.is_empty() || asked == "void" {
        return Ok(());
    }
    let host = enter()?;
    let gpus = rocm::gpus(&host);
    let nodes = hook::nodes(&host, &gpus, asked)?;
    hook::apply(container, &host, |root| {
        let wanted = Wanted::all(vec![Vendor::Amd]);
        let (mut edits, driver) = hook::driver_edits(&host, root, &wanted)?;
        if driver.is_none() {
            return Err(Error::Refused(
                "the container asks for AMD's GPUs, and this host has no driver for them"
                    .to_owned(),
            ));
        }
        if arguments.libraries {
            edits.device_nodes.clear();
        }
        Ok((edits, nodes))
    })
}
