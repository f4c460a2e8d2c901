//! The hook that injects NVIDIA's driver into containers that request it by
//! `NVIDIA_VISIBLE_DEVICES`.

use inject::nvidia::{self, Capabilities, Known};
use inject::{Host, Vendor, Wanted};

use crate::{Arguments, Container, Error, apply, driver_edits, nodes};

/// Runs the hook.
pub(crate) fn run(
    container: &Container,
    arguments: &Arguments,
    enter: &dyn Fn() -> Result<Host, Error>,
) -> Result<(), Error> {
    let words = container.variable("NVIDIA_DRIVER_CAPABILITIES");
    let (asked, capabilities) = match arguments.libraries {
        true if words.is_none() => ("none", Capabilities::ALL),
        true => ("none", Capabilities::parse(words)),
        false => {
            let asked = container.variable("NVIDIA_VISIBLE_DEVICES");
            (asked.unwrap_or_default(), Capabilities::parse(words))
        }
    };
    // The value is `void` in containers whose GPUs were added in another way.
    if asked.is_empty() || asked == "void" {
        return Ok(());
    }
    let host = enter()?;
    let gpus = nvidia::gpus(&host);
    let nodes = nodes(&host, &gpus, asked)?;
    apply(container, &host, |root| {
        let wanted = Wanted {
            vendors: vec![Vendor::Nvidia],
            capabilities,
        };
        let (mut edits, driver) = driver_edits(&host, root, &wanted)?;
        let Some(driver) = driver else {
            return Err(Error::Refused(
                "the container asks for NVIDIA's GPUs, and this host has no driver for them"
                    .to_owned(),
            ));
        };
        let models = gpus.iter().map(|gpu| gpu.model.clone());
        check(container, &driver, models.collect())?;
        if arguments.libraries {
            edits.device_nodes.clear();
        }
        Ok((edits, nodes))
    })
}

/// Fails when the image requires another driver.
fn check(container: &Container, driver: &str, models: Vec<String>) -> Result<(), Error> {
    let disabled = container.variable("NVIDIA_DISABLE_REQUIRE");
    if disabled.is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")) {
        return Ok(());
    }
    let known = Known {
        driver: driver.to_owned(),
        cuda: nvidia::cuda(driver),
        models,
    };
    let unmet = container
        .variables("NVIDIA_REQUIRE_")
        .find(|(_, requirement)| !nvidia::is_met(requirement, &known));
    let Some((name, requirement)) = unmet else {
        return Ok(());
    };
    let cuda = known
        .cuda
        .map(|(major, minor)| format!(" for CUDA {major}.{minor}"));
    Err(Error::Refused(format!(
        "the image asks for {} ({name}), and the driver of this host is {driver}{}; \
         NVIDIA_DISABLE_REQUIRE=1 goes on all the same",
        requirement.escape_debug(),
        cuda.unwrap_or_default()
    )))
}
