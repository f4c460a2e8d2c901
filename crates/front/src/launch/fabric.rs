//! What an image lacks to reach the host's fast networks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::Image;
use inject::fabric::{self, Program, Reached, Resolved};
use inject::{Edits, Host};
use tree::Files;

use super::memo;
use super::mpi::Rank;
use super::program::Where;
use crate::flags::MpiMode;
use crate::host;
use crate::messages::Messages;
use crate::request::{Container, Request};

/// Injects it to what may use a network: a rank of a job, what computes on GPUs, and who asks for it by a device.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn resolve(
    request: &Request,
    image: &Image,
    rank: &Rank,
    cache: &Path,
    edits: &mut Edits,
    messages: &Messages,
) -> Result<()> {
    let Container { devices, mpi, .. } = &request.container;
    let is_asked = devices
        .names
        .iter()
        .any(|name| name.kind == fabric::CDI_KIND);
    let may_use = request.job.is_some() || !devices.vendors.is_empty() || mpi.mode == MpiMode::Host;
    if !is_asked && (!may_use || mpi.mode == MpiMode::None) {
        return Ok(());
    }
    let host = Host::new(Path::new("/"), OsStr::new("")).context("look at the host")?;
    let (Some(identity), Some(machine)) = (fabric::identity(&host), host::machine(&image.root))
    else {
        return Ok(());
    };
    let failed = "look for the network's libraries";
    let program = rank.program.as_ref();
    let library_path = program.and_then(|(_, path)| path.as_deref());
    let file: Option<(&dyn Files, &Path)> = program.map(|(program, _)| match program {
        Where::Image(path) => (&image.root as &dyn Files, path.as_path()),
        Where::Host(path) => (host.files() as &dyn Files, path.as_path()),
    });
    let work_out = || {
        let program = Program {
            file,
            library_path,
            host_libraries: rank.host_libraries.as_ref(),
            directories: &mpi.hints.libraries,
        };
        fabric::resolve(&host, &image.root, machine, program).context(failed)
    };
    let injected = match memo::stamp(&image.root).context("look at the image")? {
        Some(stamp) => {
            let theirs = host
                .files()
                .stamp(Path::new(elf::CACHE))
                .unwrap_or_default();
            let state = program.map(|(program, _)| program.state(&host));
            let depends = format!(
                "{program:?} {state:?} {:?} {:?}",
                rank.host_libraries, mpi.hints
            );
            let holds = |injected: &Resolved| memo::is_there(&injected.host_libraries.mounts);
            let key = memo::key(&["fabric", &identity, &stamp, &theirs, &depends]);
            memo::answer(
                &key,
                cache,
                |bytes| serde_json::from_slice(bytes).ok().filter(holds),
                |injected| match injected.networks.iter().all(Reached::is_reached) {
                    true => Ok(serde_json::to_vec(injected)?),
                    // What is in the way may be mended the next moment.
                    false => Err(std::io::Error::other("it may change")),
                },
                work_out,
            )?
        }
        None => work_out()?,
    };
    tracing::debug!(names = ?injected.names, "injected for the network");
    if !injected.host_libraries.mounts.is_empty() {
        let put = injected.host_libraries.add_to(edits, &image.root, machine);
        put.context(failed)?;
    }
    // Who asks by a device's name has its nodes.
    let nodes = fabric::nodes(&host).into_iter().filter(|_| !is_asked);
    let new = nodes.filter(|node| !edits.device_nodes.contains(node));
    let new: Vec<PathBuf> = new.collect();
    edits.device_nodes.extend(new);
    if rank.speaks
        && let Some(uses) = &rank.uses
        && let Some(reason) = unreached(&injected.networks)
    {
        let other = rank.obstacle.as_ref();
        let other = other.map(|other| format!("; the host's MPI cannot stand in: {other}"));
        messages.warning(format_args!(
            "{uses} is used, and does not reach this host's {reason}{}",
            other.unwrap_or_default()
        ));
    }
    Ok(())
}

/// Says why none of the networks is reached, if so.
fn unreached(networks: &[Reached]) -> Option<String> {
    let first = networks.first()?;
    if networks.iter().any(Reached::is_reached) {
        return None;
    }
    Some(format!("{}: {}", first.kind, first.reason.as_ref()?))
}
