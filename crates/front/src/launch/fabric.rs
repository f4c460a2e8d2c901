//! The libraries and device nodes that a container gets to reach the host's fast networks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::Image;
use inject::fabric::{self, Program, Reached, Resolved};
use inject::mpi::Hints;
use inject::{Host, HostLibraries, View};
use rootfs::Files;

use super::memo;
use super::mpi::Rank;
use super::program::ProgramLocation;
use crate::host;
use crate::mpi_mode::MpiMode;
use crate::request::{Container, Request};

/// The libraries and device nodes that a container gets for the host's networks.
#[derive(Debug, Default)]
pub struct Network {
    /// The libraries that the image lacks.
    pub host_libraries: HostLibraries,
    /// Device nodes.
    pub nodes: Vec<PathBuf>,
    /// The reason why the program's MPI reaches none of the networks.
    pub warning: Option<String>,
}

/// Determines the libraries and device nodes for networks. Three kinds of containers get them:
/// those of a job's ranks or with the host's MPI, those of programs that compute on GPUs, and those
/// for which the user names a network's device.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn network(request: &Request, image: &Image, rank: &Rank, cache: &Path) -> Result<Network> {
    let Container { devices, mpi, .. } = &request.container;
    let is_asked = devices
        .names
        .iter()
        .any(|name| name.kind == fabric::CDI_KIND);
    let may_use = request.job.is_some() || !devices.vendors.is_empty() || mpi.mode == MpiMode::Host;
    if !is_asked && (!may_use || mpi.mode == MpiMode::None) {
        return Ok(Network::default());
    }
    let host = Host::new(Path::new("/"), OsStr::new("")).context("examine the host")?;
    let (Some(identity), Some(machine)) = (fabric::identity(&host), host::machine(&image.root))
    else {
        return Ok(Network::default());
    };
    let library_path = rank.program.as_ref().map(|own| own.library_path.as_deref());
    let view = View {
        host: &host,
        image: &image.root,
        machine,
        library_path: library_path.flatten(),
    };
    let resolved = resolve(view, image, rank, &mpi.hints, &identity, cache)?;
    tracing::debug!(names = ?resolved.names, "injected for the network");
    // If the user names a network's device, its CDI file brings the nodes.
    let nodes = match is_asked {
        true => Vec::new(),
        false => fabric::nodes(&host),
    };
    Ok(Network {
        nodes,
        warning: warning(rank, &resolved.networks),
        host_libraries: resolved.host_libraries,
    })
}

/// Finds the libraries that the image lacks. The result comes from the cache if nothing has changed
/// that it depends on.
fn resolve(
    view: View<'_>,
    image: &Image,
    rank: &Rank,
    hints: &Hints,
    identity: &str,
    cache: &Path,
) -> Result<Resolved> {
    let host = view.host;
    let program = rank.program.as_ref();
    let file: Option<(&dyn Files, &Path)> = program.map(|program| match &program.location {
        ProgramLocation::Image(path) => (&image.root as &dyn Files, path.as_path()),
        ProgramLocation::Host(path) => (host.files() as &dyn Files, path.as_path()),
    });
    let search = || {
        let program = Program {
            file,
            host_libraries: rank.host_libraries.as_ref(),
            directories: &hints.libraries,
        };
        fabric::resolve(view, program).context("look for the network's libraries")
    };
    let Some(stamp) = memo::stamp(&image.root).context("examine the image")? else {
        return search();
    };
    let theirs = host
        .files()
        .stamp(Path::new(elf::CACHE))
        .unwrap_or_default();
    let state = program.map(|program| program.location.state(host));
    let depends = format!("{program:?} {state:?} {:?} {hints:?}", rank.host_libraries);
    let holds = |resolved: &Resolved| memo::is_there(&resolved.host_libraries.mounts);
    memo::answer(
        &memo::key(&["fabric", identity, &stamp, &theirs, &depends]),
        cache,
        |bytes| serde_json::from_slice(bytes).ok().filter(holds),
        |resolved| match resolved.networks.iter().all(Reached::is_reached) {
            true => Ok(serde_json::to_vec(resolved)?),
            // Not cached, because the obstacle may be removed at any time.
            false => Err(std::io::Error::other("it may change")),
        },
        search,
    )
}

/// Returns a warning if the program's MPI library reaches none of the host's networks.
fn warning(rank: &Rank, networks: &[Reached]) -> Option<String> {
    let uses = rank.uses.as_ref().filter(|_| rank.speaks)?;
    let reason = unreached(networks)?;
    let other = rank.obstacle.as_ref();
    let other = other.map(|other| format!("; the host's MPI cannot replace the image's: {other}"));
    Some(format!(
        "{uses} does not reach this host's {reason}{}",
        other.unwrap_or_default()
    ))
}

/// Returns the reason why none of the networks is reached. Returns `None` if one is.
fn unreached(networks: &[Reached]) -> Option<String> {
    let first = networks.first()?;
    if networks.iter().any(Reached::is_reached) {
        return None;
    }
    Some(format!("{}: {}", first.kind, first.reason.as_ref()?))
}
