//! GPUs: the host's driver against the image.

use std::io;

use elf::{Flavour, Loader, Object};
use inject::{Host, Vendor, Wanted, driver_edits, nvidia};
use tree::Files;

use crate::Finding;

/// Looks at what the host's GPUs need of an image. `asked` are those whose drivers are injected, `cuda` is the
/// release that the image says it was made with: `12.4.1`.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn gpus(
    host: &Host,
    image: &dyn Files,
    machine: Object,
    asked: &[Vendor],
    cuda: Option<&str>,
) -> io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for vendor in [Vendor::Nvidia, Vendor::Amd] {
        let (has, flag) = (!vendor.gpus(host).is_empty(), vendor.flag());
        match (asked.contains(&vendor), has) {
            (false, true) if vendor == Vendor::Nvidia && cuda.is_some() => {
                let what = "the image is made for CUDA, and the driver is not injected";
                findings.push(Finding::fails("GPU", what, flag));
            }
            (false, _) => {}
            (true, false) => findings.push(Finding::fails(
                "GPU",
                format!("{flag}: this host has no such GPU"),
                "choose other nodes: srun --gpus=1",
            )),
            (true, true) => findings.extend(injected(host, image, machine, vendor, cuda)?),
        }
    }
    Ok(findings)
}

fn injected(
    host: &Host,
    image: &dyn Files,
    machine: Object,
    vendor: Vendor,
    cuda: Option<&str>,
) -> io::Result<Vec<Finding>> {
    let flag = vendor.flag();
    if Loader::new(image, machine)?.flavour() != Some(Flavour::Glibc) {
        let what = format!(
            "{flag}: the driver's libraries need the GNU C library, which the image has not"
        );
        return Ok(vec![Finding::fails(
            "GPU",
            what,
            "take an image with glibc",
        )]);
    }
    let injected = driver_edits(host, image, machine, &Wanted::all(vec![vendor]))?;
    let driver = injected
        .drivers
        .first()
        .map(|(_, driver)| driver.clone())
        .unwrap_or_default();
    let mut findings: Vec<Finding> = Vec::new();
    let uses_own = injected.notes.iter().any(|note| note.contains("are used"));
    for note in injected
        .notes
        .iter()
        .filter(|note| note.contains("is left out"))
    {
        findings.push(Finding::fails(
            "GPU",
            note.clone(),
            "take a newer image; front gpu explain IMAGE says more",
        ));
    }
    let number = |text: &str| {
        text.split('.')
            .next()
            .and_then(|word| word.parse::<u32>().ok())
    };
    if vendor == Vendor::Nvidia
        && let (Some(wanted), Some((known, minor))) = (cuda.and_then(number), nvidia::cuda(&driver))
        && wanted > known
        && !uses_own
    {
        findings.push(Finding::fails(
            "GPU",
            format!("the image is made for CUDA {wanted}, and the driver {driver} has CUDA {known}.{minor}"),
            "take an image for an older CUDA, or one with its cuda-compat package",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::works("GPU", format!("driver {driver}")));
    }
    Ok(findings)
}
