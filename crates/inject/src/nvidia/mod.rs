//! NVIDIA: the driver's devices, libraries, programs and data.

mod capability;
mod compat;
mod gpus;
mod names;
mod require;

use std::io;
use std::path::{Path, PathBuf};

use elf::{Loader, Object};
use rootfs::Files;

pub use capability::Capabilities;
pub use gpus::gpus;
pub use require::{Known, is_met};

use crate::Host;
use crate::compat::{Candidate, Class, Decision, Verdict};
use crate::inventory::{Backend, Inventory, libraries, programs};
use crate::note::Note;
use names::{ALIASES, BACKENDS, DATA, DISPATCH, DRIVER, FOREIGN, PROGRAMS, SOCKETS};

/// Returns the version of the driver, `535.261.03`, or `None` if there is no driver. `machine` is
/// that of the host's programs.
#[must_use]
pub fn driver(host: &Host, machine: Object) -> Option<String> {
    gpus::version(host).or_else(|| {
        let theirs = Loader::new(host.files(), machine).ok()?;
        by_library(&libraries(host, &theirs, sort))
    })
}

/// The first branch of the driver for each release of CUDA, from the release notes of CUDA, table
/// "CUDA Toolkit and Corresponding Driver Versions".
const CUDA: &[(u32, (u32, u32))] = &[
    (580, (13, 0)),
    (575, (12, 9)),
    (570, (12, 8)),
    (560, (12, 6)),
    (555, (12, 5)),
    (550, (12, 4)),
    (545, (12, 3)),
    (535, (12, 2)),
    (530, (12, 1)),
    (525, (12, 0)),
    (520, (11, 8)),
    (515, (11, 7)),
    (510, (11, 6)),
    (495, (11, 5)),
    (470, (11, 4)),
    (465, (11, 3)),
    (460, (11, 2)),
    (455, (11, 1)),
    (450, (11, 0)),
    (440, (10, 2)),
    (418, (10, 1)),
];

/// Returns the release of CUDA that a driver was made for: 12 and 2 for 535. Returns `None` for a
/// driver that is older or newer than all known ones.
#[must_use]
pub fn cuda(driver: &str) -> Option<(u32, u32)> {
    let branch: u32 = driver.split('.').next()?.parse().ok()?;
    let (newest, _) = CUDA.first()?;
    let known = CUDA
        .iter()
        .find(|(first, _)| branch >= *first && branch <= *newest);
    known.map(|(_, release)| *release)
}

/// Returns a text that changes with everything that the result depends on, except the loader's
/// cache.
pub(crate) fn identity(host: &Host) -> String {
    let driver = gpus::version(host);
    let programs: Vec<_> = PROGRAMS.iter().map(|name| host.program(name)).collect();
    format!("{driver:?} {programs:?} {:?}", gpus::common_nodes(host))
}

/// Returns the parts of NVIDIA's driver for an image, or `None` if there is no driver.
pub(crate) fn inventory(
    host: &Host,
    theirs: &Loader<'_>,
    image: &dyn Files,
    wanted: Capabilities,
) -> io::Result<Option<Inventory>> {
    let all = libraries(host, theirs, sort);
    let Some(driver) = gpus::version(host).or_else(|| by_library(&all)) else {
        return Ok(None);
    };
    let (stale, mut candidates): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|candidate| is_stale(candidate, &driver));
    let left = stale.into_iter().map(|candidate| Verdict {
        name: candidate.name,
        class: candidate.class,
        host_path: candidate.path,
        decision: Decision::Left {
            reason: format!("it does not match the kernel driver {driver}"),
        },
    });
    candidates.extend(programs(host, PROGRAMS));
    candidates.retain(|candidate| wanted.want(&candidate.name.to_string_lossy()));
    let compat = compat::find(image, &driver, &gpus::gpus(host))?;
    let note = compat.as_ref().map(|compat| match &compat.unused {
        None => Note::OwnCuda {
            version: compat.version.clone(),
        },
        Some(reason) => Note::UnusedCuda {
            reason: reason.clone(),
        },
    });
    let used = compat.filter(|compat| compat.unused.is_none());
    let files = DATA
        .iter()
        .chain(SOCKETS)
        .map(PathBuf::from)
        .filter(|path| {
            let name = path.file_name().unwrap_or_default();
            wanted.want(&name.to_string_lossy())
        });
    Ok(Some(Inventory {
        candidates,
        left: left.collect(),
        own: used.map(|compat| compat.libraries).unwrap_or_default(),
        files: files
            .filter(|path| host.exists(path))
            .chain(firmware(host, &driver))
            .collect(),
        nodes: gpus::common_nodes(host),
        aliases: ALIASES,
        places: &[],
        backends: backends(host, theirs, wanted)?,
        // Without these two nothing works. Few programs need the others.
        vital: &["libcuda.so.1", "libnvidia-ml.so.1"],
        notes: note.into_iter().collect(),
        driver,
    }))
}

/// Returns the firmware of the GPUs' own processors, which a container's driver tools may load.
fn firmware(host: &Host, driver: &str) -> Vec<PathBuf> {
    let directory = Path::new("/lib/firmware/nvidia").join(driver);
    let names = host.names(&directory).into_iter();
    names.map(|name| directory.join(name)).collect()
}

/// Returns the driver's libraries that the host's dispatch libraries look for beside themselves.
fn backends(host: &Host, theirs: &Loader<'_>, wanted: Capabilities) -> io::Result<Vec<Backend>> {
    let mut found = Vec::new();
    for (of, place) in BACKENDS {
        let file = Path::new(place).file_name().unwrap_or_default();
        let Some((library, _)) = theirs.find(std::ffi::OsStr::new(of))? else {
            continue;
        };
        let path = library.parent().map(|directory| directory.join(place));
        let path = path.and_then(|path| host.canonical(&path));
        if let Some(path) = path.filter(|_| wanted.want(&file.to_string_lossy())) {
            found.push(Backend { of, place, path });
        }
    }
    Ok(found)
}

/// Returns the class of a library, and the library that decides for its family, by its name.
fn sort(name: &str) -> Option<(Class, Option<&'static str>)> {
    if let Some((_, family)) = DISPATCH.iter().find(|(dispatch, _)| *dispatch == name) {
        return Some((Class::Dispatch, *family));
    }
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    // Names without a version are for building programs.
    let is_driver = begins(DRIVER) && !begins(FOREIGN) && name.contains(".so.");
    is_driver.then_some((Class::Driver, None))
}

/// Returns the version in the name of the driver's main library, for hosts whose kernel does not
/// show one.
fn by_library(candidates: &[Candidate]) -> Option<String> {
    let main = ["libcuda.so.1", "libnvidia-ml.so.1"];
    let mut libraries = candidates.iter();
    let library = libraries.find(|candidate| main.iter().any(|name| candidate.name == *name))?;
    version_of(&library.path).map(str::to_owned)
}

/// Returns the driver's version at the end of a file's name.
fn version_of(path: &Path) -> Option<&str> {
    let (_, version) = path.file_name()?.to_str()?.split_once(".so.")?;
    Some(version).filter(|version| gpus::is_version(version))
}

/// Whether a library is left over from another version of the driver.
fn is_stale(candidate: &Candidate, driver: &str) -> bool {
    let other = version_of(&candidate.path).is_some_and(|version| version != driver);
    candidate.class == Class::Driver && other
}
