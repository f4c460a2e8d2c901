//! Checks the host's GPU driver against the image.

use std::io;

use elf::{Flavour, Loader, Object};
use inject::{Host, Note, Vendor, Wanted, driver_edits, nvidia};
use rootfs::Files;

use crate::Finding;

/// Reports whether the host's GPU drivers work with an image. `asked` are the vendors whose drivers
/// are injected. `cuda` is the release that the image says it was made with: `12.4.1`.
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
            "{flag}: the driver's libraries need the GNU C library, which the image does not have"
        );
        return Ok(vec![Finding::fails("GPU", what, "use an image with glibc")]);
    }
    let injected = driver_edits(host, image, machine, &Wanted::all(vec![vendor]))?;
    let driver = injected
        .drivers
        .first()
        .map(|(_, driver)| driver.clone())
        .unwrap_or_default();
    let mut findings: Vec<Finding> = Vec::new();
    let mut notes = injected.notes.iter();
    let uses_own = notes.any(|note| matches!(note, Note::OwnCuda { .. }));
    let notes = injected.notes.iter();
    for note in notes.filter(|note| matches!(note, Note::LeftOut { .. })) {
        findings.push(Finding::fails(
            "GPU",
            note.to_string(),
            "use a newer image; `front gpu explain IMAGE` shows details",
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
            "use an image for an older CUDA, or one with its cuda-compat package",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::works("GPU", format!("driver {driver}")));
    }
    Ok(findings)
}
