//! The GPU drivers and the devices that a container gets. The drivers' part is determined once for
//! an image on a host.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cdi::ContainerEdits;
use image::Image;
use inject::{Edits, GpuSelection, Host, View, Wanted};
use serde::{Deserialize, Serialize};

use super::memo;
use crate::caller::Caller;
use crate::flags::{Devices, Selection};
use crate::host;
use crate::messages::Messages;
use crate::request::Request;

/// A cached result. The content of the loader's cache is stored after it, as bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    notes: Vec<String>,
    edits: Edits,
}

/// Returns the edits for GPUs and devices. Warns about those that cannot be injected.
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
    let host = host::with_programs(caller)?;
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
    // For a device with a CDI file, the file names the nodes.
    for selection in &request.container.devices.selections {
        let chosen = choose(&host, selection)?;
        edits.env.extend(chosen.variable);
        edits.device_nodes.extend(chosen.nodes);
    }
    if devices.is_empty() {
        return Ok(edits);
    }
    let view = View {
        host: &host,
        image: &image.root,
        machine: host::machine(&image.root)
            .context("cannot determine the image's architecture: it has no known program")?,
        library_path: None,
    };
    let with_devices = edits.with_devices(&devices, view);
    let with_devices = with_devices.context("inject the devices")?;
    for note in with_devices.notes {
        messages.warning(format_args!("--device: {note}"));
    }
    Ok(with_devices.edits)
}

/// The GPUs that the user selected.
struct Chosen {
    nodes: Vec<PathBuf>,
    /// The variable with the numbers that programs use inside, if they see only the selected GPUs.
    variable: Option<(String, String)>,
}

/// Finds the GPUs that the user selected.
fn choose(host: &Host, selection: &Selection) -> Result<Chosen> {
    let gpus = selection.vendor.gpus(host);
    let choice = match selection.name {
        "" => GpuSelection::All,
        _ => GpuSelection::parse(&selection.value),
    };
    let choice = match choice {
        // Only NVIDIA's library knows parts by these names. The program will select its own.
        GpuSelection::Some(words) if words.iter().any(|word| is_opaque(word)) => GpuSelection::All,
        choice => choice,
    };
    let failed = || format!("{} in {}", selection.name, selection.vendor.flag());
    let chosen = choice.indices(&gpus).with_context(failed)?;
    let nodes = choice.nodes(&gpus).with_context(failed)?;
    inject::check_nodes(host, &nodes)?;
    let is_own = selection.name == selection.own_name;
    let seen = selection.own.as_deref();
    let seen = seen.and_then(|words| inject::renumbered(words, &chosen, is_own));
    Ok(Chosen {
        variable: seen.map(|seen| (selection.own_name.to_owned(), seen)),
        nodes,
    })
}

/// Whether a word names a part of a GPU by the part's own UUID, `MIG-…`.
fn is_opaque(word: &str) -> bool {
    word.starts_with("MIG-") && !word.starts_with("MIG-GPU-")
}

/// Returns the edits for the requested devices, from the CDI files of this host.
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
    let theirs = inject::identity(host, wanted).context("examine the host")?;
    let record = match memo::stamp(&image.root).context("examine the image")? {
        Some(image_stamp) => memo::answer(
            &memo::key(&["gpus", &theirs, &image_stamp]),
            cache,
            |bytes| parse(bytes).filter(|record| memo::is_there(&record.edits.mounts)),
            to_bytes,
            || compute(host, image, wanted),
        )?,
        None => compute(host, image, wanted)?,
    };
    for note in &record.notes {
        messages.warning(note);
    }
    tracing::debug!(mounts = record.edits.mounts.len(), "injected");
    Ok(record.edits)
}

fn compute(host: &Host, image: &Image, wanted: &Wanted) -> Result<Record> {
    let Some(machine) = host::machine(&image.root) else {
        return Ok(Record {
            notes: Vec::new(),
            edits: Edits::default(),
        });
    };
    let injected = inject::driver_edits(host, &image.root, machine, wanted);
    let injected = injected.context("look for the driver's libraries")?;
    Ok(Record {
        notes: injected.notes.iter().map(ToString::to_string).collect(),
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
