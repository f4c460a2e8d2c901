//! What the host injects, worked out once for an image on a host.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use cdi::ContainerEdits;
use image::Image;
use inject::{Edits, GpuSelection, Host, Vendor, Wanted};
use serde::{Deserialize, Serialize};

use super::memo;
use crate::caller::Caller;
use crate::flags::Devices;
use crate::host;
use crate::messages::Messages;
use crate::request::Request;

/// What is kept of an answer; the loader's cache stands behind it, as bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    notes: Vec<String>,
    edits: Edits,
}

/// Returns what the host injects, and tells what the user should know about it.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn edits(
    request: &Request,
    caller: &Caller,
    image: &Image,
    cache: &Path,
    messages: &Messages,
) -> Result<Edits> {
    if request.container.devices.vendors.is_empty() && request.container.devices.names.is_empty() {
        return Ok(Edits::default());
    }
    let host = host::lender(caller)?;
    let devices = devices(request, messages)?;
    let mut vendors = request.container.devices.vendors.clone();
    for vendor in inject::vendors(&devices) {
        if !vendors.contains(&vendor) {
            vendors.push(vendor);
        }
    }
    let mut edits = match vendors.is_empty() {
        true => Edits::default(),
        false => drivers(&host, &Wanted::all(vendors), image, cache, messages)?,
    };
    if request.is_contained() {
        // A device's own file says which nodes are its.
        for vendor in &request.container.devices.vendors {
            choose(&mut edits, &host, *vendor, caller)?;
        }
    }
    if !devices.is_empty() {
        let machine = host::machine(&image.root).context("the image has no programs")?;
        let notes = inject::add_devices(&mut edits, &devices, &host, &image.root, machine);
        for note in notes.context("inject the devices")? {
            messages.warning(format_args!("--device: {note}"));
        }
    }
    Ok(edits)
}

/// Variables that say which GPUs a job has, strongest first. A scheduler's count all of the machine's;
/// those of programs may count from the first that the job has.
fn variables(vendor: Vendor) -> (&'static [&'static str], &'static str) {
    match vendor {
        Vendor::Nvidia => (
            &[
                "NVIDIA_VISIBLE_DEVICES",
                "SLURM_STEP_GPUS",
                "SLURM_JOB_GPUS",
                "CUDA_VISIBLE_DEVICES",
            ],
            "CUDA_VISIBLE_DEVICES",
        ),
        Vendor::Amd => (
            &[
                "AMD_VISIBLE_DEVICES",
                "SLURM_STEP_GPUS",
                "SLURM_JOB_GPUS",
                "ROCR_VISIBLE_DEVICES",
            ],
            "ROCR_VISIBLE_DEVICES",
        ),
    }
}

/// Injects the nodes of those GPUs that the user has chosen, by the variables that programs read. Those
/// count what they see, which are the chosen ones only: inside, the variable says so.
fn choose(edits: &mut Edits, host: &Host, vendor: Vendor, caller: &Caller) -> Result<()> {
    let gpus = vendor.gpus(host);
    let (names, own) = variables(vendor);
    // `void` is what a container gets whose GPUs came by another way.
    let asked = names.iter().find_map(|name| {
        let value = caller.variables.get(name)?.to_string_lossy().into_owned();
        let says = name == &own || !(value.is_empty() || value == "void");
        says.then_some((*name, value))
    });
    let (name, choice) = match asked {
        Some((name, value)) => (name, GpuSelection::parse(&value)),
        None => ("", GpuSelection::All),
    };
    let choice = match choice {
        // Only NVIDIA's library knows parts by these names; the program will pick its own.
        GpuSelection::Some(words) if words.iter().any(|word| is_opaque(word)) => GpuSelection::All,
        choice => choice,
    };
    let failed = || format!("{name} in {}", vendor.flag());
    let chosen = choice.indices(&gpus).with_context(failed)?;
    let nodes = choice.nodes(&gpus).with_context(failed)?;
    inject::check_nodes(host, &nodes)?;
    let words = caller
        .variables
        .get(own)
        .map(|value| value.to_string_lossy());
    if let Some(seen) = words.and_then(|words| inject::renumbered(&words, &chosen, name == own)) {
        edits.env.push((own.to_owned(), seen));
    }
    edits.device_nodes.extend(nodes);
    Ok(())
}

/// Whether it names a part of a GPU by a UUID of its own, `MIG-…`.
fn is_opaque(word: &str) -> bool {
    word.starts_with("MIG-") && !word.starts_with("MIG-GPU-")
}

/// What the CDI files of this host say about the devices that are asked for.
fn devices(request: &Request, messages: &Messages) -> Result<ContainerEdits> {
    let Devices {
        names, directories, ..
    } = &request.container.devices;
    if names.is_empty() {
        return Ok(ContainerEdits::default());
    }
    let registry = cdi::Registry::read(directories);
    for broken in registry.broken() {
        messages.warning(broken);
    }
    Ok(registry.edits(names)?)
}

fn drivers(
    host: &Host,
    wanted: &Wanted,
    image: &Image,
    cache: &Path,
    messages: &Messages,
) -> Result<Edits> {
    let theirs = inject::identity(host, wanted).context("look at the host")?;
    let record = match memo::stamp(&image.root).context("look at the image")? {
        Some(image_stamp) => memo::answer(
            &memo::key(&["gpus", &theirs, &image_stamp]),
            cache,
            |bytes| parse(bytes).filter(|record| memo::is_there(&record.edits.mounts)),
            to_bytes,
            || work_out(host, image, wanted),
        )?,
        None => work_out(host, image, wanted)?,
    };
    for note in &record.notes {
        messages.warning(note);
    }
    tracing::debug!(mounts = record.edits.mounts.len(), "injected");
    Ok(record.edits)
}

fn work_out(host: &Host, image: &Image, wanted: &Wanted) -> Result<Record> {
    let Some(machine) = host::machine(&image.root) else {
        return Ok(Record {
            notes: Vec::new(),
            edits: Edits::default(),
        });
    };
    let injected = inject::driver_edits(host, &image.root, machine, wanted);
    let injected = injected.context("look for the driver's libraries")?;
    Ok(Record {
        notes: injected.notes,
        edits: injected.edits,
    })
}

fn to_bytes(record: &Record) -> io::Result<Vec<u8>> {
    let mut bare = record.clone();
    let cache = bare.edits.library_cache.take();
    let mut bytes = serde_json::to_vec(&bare)?;
    bytes.push(b'\n');
    bytes.extend(cache.unwrap_or_default());
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<Record> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (head, cache) = bytes.split_at(end);
    let mut record: Record = serde_json::from_slice(head).ok()?;
    let cache = cache.get(1..).filter(|cache| !cache.is_empty());
    record.edits.library_cache = cache.map(<[u8]>::to_vec);
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_found() {
        let mut record = Record {
            notes: vec!["a\nb".to_owned()],
            edits: Edits::default(),
        };
        for cache in [None, Some(b"glibc-\n\0x".to_vec())] {
            record.edits.library_cache = cache;
            let again = parse(&to_bytes(&record).unwrap()).unwrap();
            assert_eq!(
                (again.notes, again.edits),
                (record.notes.clone(), record.edits.clone())
            );
        }
        assert!(parse(b"").is_none() && parse(b"{}\n").is_none());
    }
}
