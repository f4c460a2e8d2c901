//! NVIDIA: the driver's devices, libraries, programs and data.
//!
//! Libraries go to `/.singularity.d/libs`, programs to `/usr/bin`, as Apptainer has them; data and sockets
//! lie where they lie on the host.

mod choice;
mod compat;
mod gpus;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use elf::{CacheEntry, Flavour, Loader, Object};
use tree::Files;

pub use choice::{Choice, Unknown};
pub use gpus::{Gpu, Mig, gpus};

use crate::library::{Candidate, Class, Fate, Verdict, weigh};
use crate::{Edits, Host, Mount};
use compat::Compat;
use names::{ALIASES, DATA, DISPATCH, DRIVER, FOREIGN, PROGRAMS, SOCKETS};

/// Where the libraries go.
pub const LIBRARIES: &str = "/.singularity.d/libs";

/// What NVIDIA's driver is to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nvidia {
    /// The driver's version, `535.261.03`; `None` when there is no driver.
    pub driver: Option<String>,
    /// What to add to the container: everything but the GPUs' own nodes.
    pub edits: Edits,
    /// What became of each library and program.
    pub verdicts: Vec<Verdict>,
    /// What the user should know, in words.
    pub notes: Vec<String>,
}

/// Returns the version of the driver, `535.261.03`; `None` when there is none. `machine` is that of
/// the host's programs.
#[must_use]
pub fn driver(host: &Host, machine: Object) -> Option<String> {
    gpus::version(host).or_else(|| {
        let theirs = Loader::new(host.files(), machine).ok()?;
        by_library(&libraries(host, &theirs))
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

/// Returns the release of CUDA that a driver was made for: 12 and 2 for 535. `None` for one older than
/// all that are known; for newer ones, the newest that is known.
#[must_use]
pub fn cuda(driver: &str) -> Option<(u32, u32)> {
    let branch: u32 = driver.split('.').next()?.parse().ok()?;
    let known = CUDA.iter().find(|(first, _)| branch >= *first);
    known.map(|(_, release)| *release)
}

/// Returns what the host's part of the answer of [`nvidia`] depends on, as text that changes with it: the
/// driver, the loader's cache, which every installation writes anew, and the programs' places.
///
/// # Errors
///
/// Fails when the host cannot be looked at.
pub fn identity(host: &Host) -> io::Result<String> {
    let driver = gpus::version(host).unwrap_or_default();
    let cache = host.files().stamp(Path::new(elf::CACHE))?;
    let programs: Vec<_> = PROGRAMS.iter().map(|name| host.program(name)).collect();
    Ok(format!(
        "{driver} {cache} {programs:?} {:?}",
        gpus::common_nodes(host)
    ))
}

/// Works out what an image needs of the host's NVIDIA driver. `machine` is that of the image's programs.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn nvidia(host: &Host, image: &dyn Files, machine: Object) -> io::Result<Nvidia> {
    let theirs = Loader::new(host.files(), machine)?;
    let mut candidates = libraries(host, &theirs);
    let driver = gpus::version(host).or_else(|| by_library(&candidates));
    let Some(driver) = driver else {
        return Ok(Nvidia {
            driver: None,
            edits: Edits::default(),
            verdicts: Vec::new(),
            notes: Vec::new(),
        });
    };
    candidates.extend(programs(host));
    let mut loader = Loader::new(image, machine)?;
    let compat = compat::find(image, &driver, &gpus::gpus(host))?;
    let used = compat.as_ref().filter(|compat| compat.unused.is_none());
    let nothing = BTreeMap::new();
    let own = used.map_or(&nothing, |compat| &compat.libraries);
    let (stale, current): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|candidate| is_stale(candidate, &driver));
    let mut verdicts = weigh(host, &mut loader, &current, own)?;
    verdicts.extend(stale.into_iter().map(|candidate| Verdict {
        name: candidate.name,
        class: candidate.class,
        host_path: candidate.path,
        fate: Fate::Left {
            reason: format!("it is of another driver than the kernel's {driver}"),
        },
    }));
    let mut edits = Edits {
        device_nodes: gpus::common_nodes(host),
        mounts: mounts(host, &verdicts),
        library_cache: None,
    };
    if loader.flavour() == Some(Flavour::Glibc) {
        edits.library_cache = library_cache(&loader, &verdicts, own);
    }
    Ok(Nvidia {
        notes: notes(loader.flavour(), &verdicts, compat.as_ref()),
        driver: Some(driver),
        edits,
        verdicts,
    })
}

/// The libraries that the host's loader would find.
fn libraries(host: &Host, theirs: &Loader<'_>) -> Vec<Candidate> {
    let Some(flags) = elf::flags(&theirs.machine()) else {
        return Vec::new();
    };
    let entries = theirs.cache().entries.iter();
    let entries = entries.filter(|entry| entry.flags == flags && !entry.is_special());
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.name.to_string_lossy();
        let dispatch = DISPATCH.iter().find(|(dispatch, _)| *dispatch == name);
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let class = match dispatch {
            Some(_) => Class::Dispatch,
            // Names without a version are for those who build.
            None if begins(DRIVER) && !begins(FOREIGN) && name.contains(".so.") => Class::Driver,
            None => continue,
        };
        // Of two files with one name the first wins, as for the loader.
        if let Some(path) = host.canonical(&entry.path)
            && seen.insert(entry.name.clone())
        {
            found.push(Candidate {
                name: entry.name.clone(),
                path,
                class,
                family: dispatch.and_then(|(_, family)| *family),
            });
        }
    }
    found
}

fn programs(host: &Host) -> impl Iterator<Item = Candidate> {
    PROGRAMS.iter().filter_map(|name| {
        Some(Candidate {
            name: name.into(),
            path: host.canonical(&host.program(name)?)?,
            class: Class::Program,
            family: None,
        })
    })
}

/// The version in the name of the driver's main library, where the kernel tells none.
fn by_library(candidates: &[Candidate]) -> Option<String> {
    let main = ["libcuda.so.1", "libnvidia-ml.so.1"];
    let mut libraries = candidates.iter();
    let library = libraries.find(|candidate| main.iter().any(|name| candidate.name == *name))?;
    version_of(&library.path).map(str::to_owned)
}

/// The driver's version at the end of a file's name.
fn version_of(path: &Path) -> Option<&str> {
    let (_, version) = path.file_name()?.to_str()?.split_once(".so.")?;
    Some(version).filter(|version| gpus::is_version(version))
}

/// Whether a library is left over from another version of the driver.
fn is_stale(candidate: &Candidate, driver: &str) -> bool {
    let other = version_of(&candidate.path).is_some_and(|version| version != driver);
    candidate.class == Class::Driver && other
}

fn mounts(host: &Host, verdicts: &[Verdict]) -> Vec<Mount> {
    let lent = |verdict: &&Verdict| matches!(verdict.fate, Fate::Lent { .. });
    let mut mounts = Vec::new();
    for verdict in verdicts.iter().filter(lent) {
        let directory = match verdict.class {
            Class::Program => "/usr/bin",
            Class::Driver | Class::Dispatch => LIBRARIES,
        };
        mounts.extend(names(&verdict.name).map(|name| Mount {
            host_path: verdict.host_path.clone(),
            container_path: Path::new(directory).join(name),
        }));
    }
    let there = DATA.iter().chain(SOCKETS).map(PathBuf::from);
    mounts.extend(there.filter(|path| host.exists(path)).map(|path| Mount {
        container_path: path.clone(),
        host_path: path,
    }));
    mounts
}

/// A library's name, and the others by which programs ask for it.
fn names(name: &OsStr) -> impl Iterator<Item = OsString> {
    let aliases = ALIASES.iter().filter(move |(_, library)| name == *library);
    let aliases = aliases.map(|(alias, _)| OsString::from(alias));
    [name.to_owned()].into_iter().chain(aliases)
}

/// The image's own cache, in which the lent libraries stand for their names.
fn library_cache(
    loader: &Loader<'_>,
    verdicts: &[Verdict],
    own: &BTreeMap<OsString, PathBuf>,
) -> Option<Vec<u8>> {
    let flags = elf::flags(&loader.machine())?;
    let mut cache = loader.cache().clone();
    let lent = verdicts.iter().filter(|verdict| {
        verdict.class != Class::Program && matches!(verdict.fate, Fate::Lent { .. })
    });
    for verdict in lent {
        for name in names(&verdict.name) {
            let path = Path::new(LIBRARIES).join(&name);
            cache.replace(CacheEntry::new(name, path, flags));
        }
    }
    for (name, path) in own {
        for name in names(name) {
            cache.replace(CacheEntry::new(name, path.clone(), flags));
        }
    }
    cache.to_bytes()
}

fn notes(flavour: Option<Flavour>, verdicts: &[Verdict], compat: Option<&Compat>) -> Vec<String> {
    if flavour != Some(Flavour::Glibc) {
        let has = flavour.map_or("none", |_| "musl");
        return vec![format!(
            "no library is lent: the driver's are made for the GNU C library, and the image has {has}"
        )];
    }
    // Without these two nothing works; the rest is for few.
    let vital = verdicts
        .iter()
        .filter(|verdict| verdict.name == "libcuda.so.1" || verdict.name == "libnvidia-ml.so.1");
    let left = vital.filter_map(|verdict| match &verdict.fate {
        Fate::Left { reason } => Some(format!("{} is left out: {reason}", verdict.name.display())),
        _ => None,
    });
    let compat = compat.map(|compat| match &compat.unused {
        None => format!(
            "the image's own CUDA libraries for driver {} are used",
            compat.version
        ),
        Some(reason) => {
            format!("the image's CUDA compatibility libraries are not used: {reason}")
        }
    });
    left.chain(compat).collect()
}
