//! Selects, from the host's drivers, the edits for one container.
//!
//! Libraries go to `/.singularity.d/libs` and programs to `/usr/bin`, as in Apptainer. Data and
//! sockets keep the paths that they have on the host.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use elf::{Cache, CacheEntry, Flavour, Loader, Object};
use rootfs::Files;

use crate::compat::{Class, Decision, Verdict, check};
use crate::inventory::{Backend, Inventory};
use crate::note::Note;
use crate::{Edits, Gpu, Host, Mount, nvidia, rocm};

/// Directory of the injected libraries in the container.
pub const LIBRARIES: &str = "/.singularity.d/libs";

/// Directory of the injected 32-bit libraries. Only the loader's cache leads there.
const LIBRARIES_32: &str = "/.singularity.d/libs/i386";

/// A vendor of GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vendor {
    /// NVIDIA: `--nv`.
    Nvidia,
    /// AMD: `--rocm`.
    Amd,
}

/// The drivers that a container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The vendors of the drivers.
    pub vendors: Vec<Vendor>,
    /// The parts of NVIDIA's driver.
    pub capabilities: nvidia::Capabilities,
}

impl Wanted {
    /// Everything that the drivers of some vendors have.
    #[must_use]
    pub fn all(vendors: Vec<Vendor>) -> Self {
        Self {
            vendors,
            capabilities: nvidia::Capabilities::ALL,
        }
    }
}

/// The driver files that a container gets from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverEdits {
    /// The drivers' versions. A vendor without a driver on this host is missing.
    pub drivers: Vec<(Vendor, String)>,
    /// The edits, except for the GPUs' own nodes.
    pub edits: Edits,
    /// The decision on each library and program.
    pub verdicts: Vec<Verdict>,
    /// Messages for the user.
    pub notes: Vec<Note>,
}

impl Vendor {
    /// Returns the flag that asks for this vendor's GPUs.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Nvidia => "--nv",
            Self::Amd => "--rocm",
        }
    }

    /// Returns the GPUs of a host.
    #[must_use]
    pub fn gpus(self, host: &Host) -> Vec<Gpu> {
        match self {
            Self::Nvidia => nvidia::gpus(host),
            Self::Amd => rocm::gpus(host),
        }
    }

    pub(crate) fn inventory(
        self,
        host: &Host,
        theirs: &Loader<'_>,
        image: &dyn Files,
        wanted: &Wanted,
    ) -> io::Result<Option<Inventory>> {
        match self {
            Self::Nvidia => nvidia::inventory(host, theirs, image, wanted.capabilities),
            Self::Amd => Ok(rocm::inventory(host, theirs)),
        }
    }
}

/// Returns a text that changes with everything on the host that the result of [`driver_edits`]
/// depends on: the drivers, the loader's cache, which every installation rewrites, and the paths of
/// the programs.
///
/// # Errors
///
/// Fails when the host cannot be read.
pub fn identity(host: &Host, wanted: &Wanted) -> io::Result<String> {
    let cache = host.files().stamp(Path::new(elf::CACHE))?;
    let each = wanted.vendors.iter().map(|vendor| match vendor {
        Vendor::Nvidia => nvidia::identity(host),
        Vendor::Amd => rocm::identity(host),
    });
    let each: Vec<String> = each.collect();
    Ok(format!("{wanted:?} {cache} {each:?}"))
}

/// Determines which parts of the host's drivers an image needs. `machine` is that of the image's
/// programs.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn driver_edits(
    host: &Host,
    image: &dyn Files,
    machine: Object,
    wanted: &Wanted,
) -> io::Result<DriverEdits> {
    let mut injected = DriverEdits {
        drivers: Vec::new(),
        edits: Edits::default(),
        verdicts: Vec::new(),
        notes: Vec::new(),
    };
    let theirs = Loader::new(host.files(), machine)?;
    let inventories = inventories(host, &theirs, image, wanted)?;
    if inventories.is_empty() {
        return Ok(injected);
    }
    let mut loader = Loader::new(image, machine)?;
    let mut cache = loader.cache().clone();
    for (vendor, inventory) in inventories {
        let mut verdicts = check(host, &mut loader, &inventory.candidates, &inventory.own)?;
        verdicts.extend(inventory.left.iter().cloned());
        let edits = &mut injected.edits;
        edits
            .mounts
            .extend(mounts(&verdicts, &inventory, LIBRARIES));
        edits.mounts.extend(data(&inventory));
        edits
            .mounts
            .extend(backends(host, &loader, &inventory.backends)?);
        edits.device_nodes.extend(inventory.nodes.iter().cloned());
        enter(&mut cache, machine, &verdicts, &inventory, LIBRARIES);
        injected.notes.extend(inventory.notes);
        injected
            .notes
            .extend(missing(&loader, vendor, inventory.vital, &verdicts));
        injected.drivers.push((vendor, inventory.driver));
        injected.verdicts.extend(verdicts);
    }
    if wanted.capabilities.compat32()
        && let Some(machine) = machine.of_32_bits()
    {
        driver_edits_32(host, image, machine, wanted, &mut injected, &mut cache)?;
    }
    if loader.flavour() == Some(Flavour::Glibc) {
        injected.edits.library_cache = cache.to_bytes();
    }
    Ok(injected)
}

/// Does the same as [`driver_edits`] for 32-bit programs, if the image has a C library for them.
fn driver_edits_32(
    host: &Host,
    image: &dyn Files,
    machine: Object,
    wanted: &Wanted,
    injected: &mut DriverEdits,
    cache: &mut Cache,
) -> io::Result<()> {
    let mut loader = Loader::new(image, machine)?;
    if loader.flavour() != Some(Flavour::Glibc) {
        return Ok(());
    }
    let theirs = Loader::new(host.files(), machine)?;
    for (_, mut inventory) in inventories(host, &theirs, image, wanted)? {
        inventory
            .candidates
            .retain(|candidate| candidate.class != Class::Program);
        // The libraries that an image has itself are 64-bit.
        inventory.own.clear();
        let verdicts = check(host, &mut loader, &inventory.candidates, &inventory.own)?;
        let mounts = mounts(&verdicts, &inventory, LIBRARIES_32);
        injected.edits.mounts.extend(mounts);
        injected
            .edits
            .mounts
            .extend(backends(host, &loader, &inventory.backends)?);
        enter(cache, machine, &verdicts, &inventory, LIBRARIES_32);
        injected.verdicts.extend(verdicts);
    }
    Ok(())
}

/// Returns the drivers of the wanted vendors that this host has.
fn inventories(
    host: &Host,
    theirs: &Loader<'_>,
    image: &dyn Files,
    wanted: &Wanted,
) -> io::Result<Vec<(Vendor, Inventory)>> {
    let mut inventories = Vec::new();
    for vendor in &wanted.vendors {
        let inventory = vendor.inventory(host, theirs, image, wanted)?;
        inventories.extend(inventory.map(|inventory| (*vendor, inventory)));
    }
    Ok(inventories)
}

type Aliases = [(&'static str, &'static str)];

/// Returns a library's name, and its aliases.
pub(crate) fn names<'a>(
    name: &'a OsStr,
    aliases: &'a Aliases,
) -> impl Iterator<Item = OsString> + 'a {
    let others = aliases.iter().filter(move |(_, library)| name == *library);
    let others = others.map(|(alias, _)| OsString::from(alias));
    [name.to_owned()].into_iter().chain(others)
}

fn mounts(verdicts: &[Verdict], inventory: &Inventory, libraries: &str) -> Vec<Mount> {
    let injected = verdicts
        .iter()
        .filter(|verdict| matches!(verdict.decision, Decision::Injected { .. }));
    let mut mounts = Vec::new();
    for verdict in injected {
        let directory = match verdict.class {
            Class::Program => "/usr/bin",
            Class::Driver | Class::Dispatch => libraries,
        };
        let known =
            names(&verdict.name, inventory.aliases).map(|name| Path::new(directory).join(name));
        let places = inventory.places.iter().filter(|(prefix, _)| {
            let name = verdict.name.as_bytes();
            name.starts_with(prefix.as_bytes())
        });
        let places = places.map(|(_, place)| PathBuf::from(place));
        let mount = |place| Mount::read_only(verdict.host_path.clone(), place);
        mounts.extend(known.chain(places).map(mount));
    }
    mounts
}

/// Returns mounts of data and sockets, which keep the paths that they have on the host.
fn data(inventory: &Inventory) -> impl Iterator<Item = Mount> {
    let files = inventory.files.iter();
    files.map(|path| Mount::read_only(path.clone(), path.clone()))
}

/// Returns mounts of libraries that the image's libraries look for beside themselves, if they would
/// load.
fn backends(host: &Host, loader: &Loader<'_>, backends: &[Backend]) -> io::Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for Backend { of, place, path } in backends {
        let closure = loader.closure(host.files(), path)?;
        let loads = closure.is_some_and(|closure| closure.problems.is_empty());
        if let Some((library, _)) = loader.find(OsStr::new(of))?.filter(|_| loads) {
            mounts.push(Mount::read_only(
                path.clone(),
                library.with_file_name(place),
            ));
        }
    }
    Ok(mounts)
}

/// Enters the injected libraries, and those that the image has itself, in the image's cache.
fn enter(
    cache: &mut Cache,
    machine: Object,
    verdicts: &[Verdict],
    inventory: &Inventory,
    libraries: &str,
) {
    let Some(flags) = elf::flags(&machine) else {
        return;
    };
    let injected = verdicts.iter().filter(|verdict| {
        verdict.class != Class::Program && matches!(verdict.decision, Decision::Injected { .. })
    });
    for name in injected.flat_map(|verdict| names(&verdict.name, inventory.aliases)) {
        let path = Path::new(libraries).join(&name);
        cache.replace(CacheEntry::new(name, path, flags));
    }
    for (name, path) in &inventory.own {
        for name in names(name, inventory.aliases) {
            cache.replace(CacheEntry::new(name, path.clone(), flags));
        }
    }
}

/// Returns notes about important libraries that are left out.
fn missing(loader: &Loader<'_>, vendor: Vendor, vital: &[&str], verdicts: &[Verdict]) -> Vec<Note> {
    if loader.flavour() != Some(Flavour::Glibc) {
        let has = loader.flavour().map_or("none", |_| "musl");
        return vec![Note::NoGlibc { vendor, has }];
    }
    let vital = verdicts
        .iter()
        .filter(|verdict| vital.iter().any(|name| verdict.name == *name));
    let left = vital.filter_map(|verdict| match &verdict.decision {
        Decision::Left { reason } => Some(Note::LeftOut {
            vendor,
            library: verdict.name.clone(),
            reason: reason.clone(),
        }),
        _ => None,
    });
    left.collect()
}
