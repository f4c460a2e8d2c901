//! From what the host has to what one container gets.
//!
//! Libraries go to `/.singularity.d/libs`, programs to `/usr/bin`, as Apptainer has them; data and sockets
//! lie where they lie on the host.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use elf::{Cache, CacheEntry, Flavour, Loader, Object};
use tree::Files;

use crate::compat::{Class, Decision, Verdict, check};
use crate::inventory::{Backend, Inventory};
use crate::{Edits, Gpu, Host, Mount, nvidia, rocm};

/// Where the libraries go.
pub const LIBRARIES: &str = "/.singularity.d/libs";

/// Where those for programs of 32 bits go; only the loader's cache leads there.
const LIBRARIES_32: &str = "/.singularity.d/libs/i386";

/// Whose GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vendor {
    /// NVIDIA's: `--nv`.
    Nvidia,
    /// AMD's: `--rocm`.
    Amd,
}

/// What a container wants of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose drivers.
    pub vendors: Vec<Vendor>,
    /// What of NVIDIA's.
    pub capabilities: nvidia::Capabilities,
}

impl Wanted {
    /// All that the drivers of some vendors have.
    #[must_use]
    pub fn all(vendors: Vec<Vendor>) -> Self {
        Self {
            vendors,
            capabilities: nvidia::Capabilities::ALL,
        }
    }
}

/// What a container gets of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverEdits {
    /// The drivers' versions; none for a vendor who has no driver here.
    pub drivers: Vec<(Vendor, String)>,
    /// What to add to the container: everything but the GPUs' own nodes.
    pub edits: Edits,
    /// What became of each library and program.
    pub verdicts: Vec<Verdict>,
    /// What the user should know, in words.
    pub notes: Vec<String>,
}

impl Vendor {
    /// The flag that asks for them.
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

/// Returns what the host's part of the answer of [`driver_edits`] depends on, as text that changes with it: the
/// drivers, the loader's cache, which every installation writes anew, and the programs' places.
///
/// # Errors
///
/// Fails when the host cannot be looked at.
pub fn identity(host: &Host, wanted: &Wanted) -> io::Result<String> {
    let cache = host.files().stamp(Path::new(elf::CACHE))?;
    let each = wanted.vendors.iter().map(|vendor| match vendor {
        Vendor::Nvidia => nvidia::identity(host),
        Vendor::Amd => rocm::identity(host),
    });
    let each: Vec<String> = each.collect();
    Ok(format!("{wanted:?} {cache} {each:?}"))
}

/// Works out what an image needs of the host's drivers. `machine` is that of the image's programs.
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
    let offers = offers(host, &theirs, image, wanted)?;
    if offers.is_empty() {
        return Ok(injected);
    }
    let mut loader = Loader::new(image, machine)?;
    let mut cache = loader.cache().clone();
    for (vendor, inventory) in offers {
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

/// As [`driver_edits`], for the programs of 32 bits of an image that has a C library for them.
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
    for (_, mut inventory) in offers(host, &theirs, image, wanted)? {
        inventory
            .candidates
            .retain(|candidate| candidate.class != Class::Program);
        // What an image brings itself has 64 bits.
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

fn offers(
    host: &Host,
    theirs: &Loader<'_>,
    image: &dyn Files,
    wanted: &Wanted,
) -> io::Result<Vec<(Vendor, Inventory)>> {
    let mut offers = Vec::new();
    for vendor in &wanted.vendors {
        let inventory = vendor.inventory(host, theirs, image, wanted)?;
        offers.extend(inventory.map(|inventory| (*vendor, inventory)));
    }
    Ok(offers)
}

type Aliases = [(&'static str, &'static str)];

/// A library's name, and the others by which programs ask for it.
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

/// Data and sockets, which lie in the container where they lie on the host.
fn data(inventory: &Inventory) -> impl Iterator<Item = Mount> {
    let files = inventory.files.iter();
    files.map(|path| Mount::read_only(path.clone(), path.clone()))
}

/// Libraries that those of the image look for beside themselves, as far as they would load.
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

/// Has the injected libraries stand for their names in the image's cache, and those that the image brings.
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

/// What is left out and will be missed.
fn missing(
    loader: &Loader<'_>,
    vendor: Vendor,
    vital: &[&str],
    verdicts: &[Verdict],
) -> Vec<String> {
    let flag = vendor.flag();
    if loader.flavour() != Some(Flavour::Glibc) {
        let has = loader.flavour().map_or("none", |_| "musl");
        return vec![format!(
            "{flag}: no library is injected: the driver's are made for the GNU C library, and the image has {has}"
        )];
    }
    let vital = verdicts
        .iter()
        .filter(|verdict| vital.iter().any(|name| verdict.name == *name));
    let left = vital.filter_map(|verdict| match &verdict.decision {
        Decision::Left { reason } => Some(format!(
            "{flag}: {} is left out: {reason}",
            verdict.name.display()
        )),
        _ => None,
    });
    left.collect()
}
