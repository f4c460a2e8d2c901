//! The hook that injects AMD's GPUs into containers that request them by `AMD_VISIBLE_DEVICES`.

use inject::{Host, Vendor, Wanted, rocm};

use crate::{Arguments, Container, Error, apply, driver_edits, nodes};

/// Runs the hook.
pub(crate) fn run(
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
    let nodes = nodes(&host, &gpus, asked)?;
    apply(container, &host, |root| {
        let wanted = Wanted::all(vec![Vendor::Amd]);
        let (mut edits, driver) = driver_edits(&host, root, &wanted)?;
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
