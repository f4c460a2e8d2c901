//! Having the host's MPI stand in for the image's.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use elf::{Cache, CacheEntry, Closure, Flavour, Loaded, Loader, Object, Problem};
use serde::{Deserialize, Serialize};
use tree::{Entry, Files};

use super::Implementation;
use super::host::{self, Hints};
use crate::library::{Candidate, Class, Fate, Verdict, weigh};
use crate::{Edits, Host, LIBRARIES, Mount};

/// What having the host's MPI takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The host's.
    pub implementation: Implementation,
    /// What is bound.
    pub mounts: Vec<Mount>,
    /// Where libraries are inside, by the names that programs ask for.
    places: Vec<(OsString, PathBuf)>,
}

impl Swap {
    /// Adds it to what a container gets otherwise.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read.
    pub fn add_to(&self, edits: &mut Edits, image: &dyn Files, machine: Object) -> io::Result<()> {
        edits.mounts.extend(self.mounts.iter().cloned());
        let known = edits.library_cache.as_deref();
        let mut cache = match known.and_then(|bytes| Cache::parse(bytes).ok()) {
            Some(cache) => cache,
            None => Loader::new(image, machine)?.cache().clone(),
        };
        if let Some(flags) = elf::flags(&machine) {
            for (name, place) in &self.places {
                cache.replace(CacheEntry::new(name.clone(), place.clone(), flags));
            }
        }
        edits.library_cache = cache.to_bytes();
        Ok(())
    }
}

/// Libraries of the C library and the compilers, which the image has of its own, and new enough or not.
const OF_THE_COMPILER: &[&str] = &[
    "ld-linux",
    "libc.so",
    "libm.so",
    "libdl.so",
    "libpthread.so",
    "librt.so",
    "libutil.so",
    "libresolv.so",
    "libgcc_s.so",
    "libstdc++.so",
    "libanl.so",
    "libnsl.so",
];

/// What MPI libraries' names begin with, the bindings of other languages among them.
const OF_MPI: &[&str] = &["libmpi", "libopen-pal", "libopen-rte"];

/// Names of one library in Debian and elsewhere.
const ALIASES: &[(&str, &str)] = &[
    ("libmpich.so.12", "libmpi.so.12"),
    ("libmpichfort.so.12", "libmpifort.so.12"),
    ("libmpichcxx.so.12", "libmpicxx.so.12"),
];

/// Libraries that load more from a directory beside themselves.
const PLUGINS: &[(&str, &str)] = &[
    ("libfabric.so", "libfabric"),
    ("libucs.so", "ucx"),
    ("libmpi.so.40", "openmpi"),
    ("libopen-pal.so", "openmpi"),
    ("libpmix.so", "pmix2"),
];

/// Works out how the host's MPI can stand in for that of an image's program, which will run with this
/// `LD_LIBRARY_PATH`; says why not, in words, where it cannot.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn swap(
    host: &Host,
    image: &dyn Files,
    machine: Object,
    program: (&dyn Files, &Path),
    library_path: Option<&OsStr>,
    own: &Implementation,
    hints: &Hints,
) -> io::Result<Result<Swap, String>> {
    let theirs = Loader::new(host.files(), machine)?;
    let mut loader = Loader::new(image, machine)?;
    loader.set_library_path(library_path.unwrap_or_default());
    if loader.flavour() != Some(Flavour::Glibc) {
        return Ok(Err("the image has no GNU C library".to_owned()));
    }
    let Some(implementation) = host::find(host, &theirs, own.family, hints)? else {
        return Ok(Err(format!("the host has no {}", own.family)));
    };
    if let (Some(theirs), Some(ours)) = (&implementation.release, &own.release)
        && theirs < ours
    {
        return Ok(Err(format!(
            "the host's {implementation} is older than the image's {own}"
        )));
    }
    let (files, path) = program;
    let image_closure = loader.closure(files, path)?.unwrap_or_default();
    let host_closure = theirs
        .closure(host.files(), &implementation.path)?
        .unwrap_or_default();
    let wanted = match wanted(
        host,
        &theirs,
        &image_closure,
        &host_closure,
        &implementation,
    )? {
        Ok(wanted) => wanted,
        Err(reason) => return Ok(Err(reason)),
    };
    if let Some(symbol) = missing_symbol(host, files, image, &image_closure, &wanted)? {
        return Ok(Err(format!(
            "the host's {implementation} has no {symbol}, which the program uses"
        )));
    }
    let verdicts = match weigh_all(host, image, machine, library_path, wanted)? {
        Ok(verdicts) => verdicts,
        Err(reason) => return Ok(Err(reason)),
    };
    Ok(Ok(put_together(
        host,
        image,
        &verdicts,
        &image_closure,
        implementation,
    )))
}

/// Weighs the libraries, and takes the host's also in place of one of the image's that is too old for
/// another. Says, in words, what is in the way.
fn weigh_all(
    host: &Host,
    image: &dyn Files,
    machine: Object,
    library_path: Option<&OsStr>,
    mut wanted: Vec<Candidate>,
) -> io::Result<Result<Vec<Verdict>, String>> {
    loop {
        let mut loader = Loader::new(image, machine)?;
        loader.set_library_path(library_path.unwrap_or_default());
        let verdicts = weigh(host, &mut loader, &wanted, &BTreeMap::new())?;
        let left = |verdict: &&Verdict| matches!(verdict.fate, Fate::Left { .. });
        let Some(first) = verdicts.iter().find(left) else {
            return Ok(Ok(verdicts));
        };
        let mut old = BTreeSet::new();
        for verdict in verdicts.iter().filter(left) {
            let closure = loader.closure(host.files(), &verdict.host_path)?;
            old.extend(closure.into_iter().flat_map(|closure| closure.problems));
        }
        let is_old = |candidate: &Candidate| {
            old.iter().any(|problem| {
                matches!(problem, Problem::Version { library, .. } if *library == candidate.name)
            })
        };
        let mut replaced = wanted
            .iter_mut()
            .filter(|candidate| candidate.class == Class::Dispatch && is_old(candidate));
        match (replaced.next(), &first.fate) {
            (Some(candidate), _) => candidate.class = Class::Driver,
            (None, Fate::Left { reason }) => {
                return Ok(Err(format!("{}: {reason}", first.name.display())));
            }
            (None, _) => return Ok(Ok(verdicts)),
        }
    }
}

fn begins(name: &OsStr, beginnings: &[&str]) -> bool {
    let name = name.to_string_lossy();
    beginnings
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// The name that a library has elsewhere, if it has one in Debian.
fn usual(name: &OsStr) -> &OsStr {
    let known = ALIASES.iter().find(|(debian, _)| name == *debian);
    known.map_or(name, |(_, usual)| OsStr::new(usual))
}

/// The host's libraries that stand in: one for each of MPI's in the program's closure, and what they need.
fn wanted(
    host: &Host,
    theirs: &Loader<'_>,
    image_closure: &Closure,
    host_closure: &Closure,
    implementation: &Implementation,
) -> io::Result<Result<Vec<Candidate>, String>> {
    let beside = implementation.path.parent().unwrap_or(Path::new("/"));
    let mut wanted: Vec<Candidate> = Vec::new();
    let mut add = |name: &OsStr, path: &Path, class| {
        if !wanted.iter().any(|known| known.name == name) {
            let (name, path) = (name.to_owned(), path.to_owned());
            wanted.push(Candidate {
                name,
                path,
                class,
                family: None,
            });
        }
    };
    // A program may ask for the library by a name of Debian's; the interpreters' ask for it later.
    let asked = image_closure
        .objects
        .iter()
        .filter(|object| begins(&object.name, OF_MPI));
    let main = implementation.family.names();
    let names: BTreeSet<OsString> = asked
        .map(|object| object.name.clone())
        .chain(main.iter().map(OsString::from))
        .collect();
    let mut closures = vec![host_closure.clone()];
    for name in &names {
        let is_main = main.iter().any(|main| name == main.as_str());
        if is_main {
            add(name, &implementation.path, Class::Driver);
            continue;
        }
        // What Open MPI's own library needs comes with it.
        if begins(name, &["libopen-"]) {
            continue;
        }
        let path = [name.as_os_str(), usual(name)].map(|name| beside.join(name));
        let Some(path) = path.into_iter().find(|path| host.exists(path)) else {
            return Ok(Err(format!(
                "the host's {implementation} has no {}",
                name.display()
            )));
        };
        add(name, &path, Class::Driver);
        closures.extend(theirs.closure(host.files(), &path)?);
    }
    for object in closures
        .iter()
        .flat_map(|closure| closure.objects.iter().skip(1))
    {
        if begins(&object.name, OF_THE_COMPILER) {
            continue;
        }
        let is_mpis = begins(&object.name, OF_MPI);
        // Where a program's own path leads to MPI's directory, what lies beside it is found first.
        let shadowed = image_closure
            .objects
            .iter()
            .any(|own| own.name == object.name && is_beside_mpi(own, image_closure));
        let class = if is_mpis || shadowed {
            Class::Driver
        } else {
            Class::Dispatch
        };
        add(&object.name, &object.path, class);
    }
    Ok(Ok(wanted))
}

/// Whether a library lies in the directory of the image's MPI, and that is one of its own.
fn is_beside_mpi(object: &Loaded, closure: &Closure) -> bool {
    let mpi = closure
        .objects
        .iter()
        .find(|object| begins(&object.name, &["libmpi.so", "libmpich.so"]));
    let directory = mpi.and_then(|mpi| mpi.path.parent());
    directory.is_some() && object.path.parent() == directory && !is_usual(&object.path)
}

/// Whether a path is of a system's own directories.
fn is_usual(path: &Path) -> bool {
    let usual = ["/usr/lib", "/usr/lib64", "/usr/local", "/lib", "/lib64"].map(Path::new);
    usual.iter().any(|usual| path.starts_with(usual))
}

/// A symbol of MPI's that the program or its libraries need and the host's libraries do not define.
fn missing_symbol(
    host: &Host,
    files: &dyn Files,
    image: &dyn Files,
    closure: &Closure,
    wanted: &[Candidate],
) -> io::Result<Option<String>> {
    let symbols = |files: &dyn Files, path: &Path| -> io::Result<Vec<elf::Symbol>> {
        let content = files.open(path)?;
        Ok(content
            .and_then(|content| elf::symbols(content).ok())
            .unwrap_or_default())
    };
    let mut defined = BTreeSet::new();
    for library in wanted
        .iter()
        .filter(|library| begins(&library.name, OF_MPI))
    {
        let own = symbols(host.files(), &library.path)?.into_iter();
        defined.extend(
            own.filter(|symbol| !symbol.undefined)
                .map(|symbol| symbol.name),
        );
    }
    for (index, object) in closure.objects.iter().enumerate() {
        let uses = object
            .linkage
            .needed
            .iter()
            .any(|name| begins(name, OF_MPI));
        if !uses || begins(&object.name, OF_MPI) {
            continue;
        }
        let from = if index == 0 { files } else { image };
        let needed = symbols(from, &object.path)?;
        let missing = needed.into_iter().find(|symbol| {
            let name = symbol.name.to_string_lossy();
            let is_mpis = ["MPI_", "PMPI_", "mpi_", "MPIX_", "ompi_"]
                .iter()
                .any(|beginning| name.starts_with(beginning));
            symbol.undefined && !symbol.weak && is_mpis && !defined.contains(&symbol.name)
        });
        if let Some(symbol) = missing {
            return Ok(Some(symbol.name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Whether a library answers to a name.
fn is_called(object: &Loaded, name: &OsStr) -> bool {
    let soname = object.linkage.soname.as_deref();
    object.name == name || soname == Some(name) || object.path.file_name() == Some(name)
}

/// Where a host's MPI is installed, if that is a place of its own.
fn prefix(implementation: &Implementation) -> Option<PathBuf> {
    let directory = implementation.path.parent()?;
    if is_usual(directory) {
        return None;
    }
    let above = directory.ancestors().find(|path| {
        let name = path.file_name().unwrap_or_default();
        name != "lib" && name != "lib64" && name != "release"
    })?;
    (above.components().count() > 2).then(|| above.to_owned())
}

fn put_together(
    host: &Host,
    image: &dyn Files,
    verdicts: &[Verdict],
    closure: &Closure,
    implementation: Implementation,
) -> Swap {
    // Where the image has something there, that stays; an empty directory is left of an earlier mount.
    let is_free = |prefix: &PathBuf| match image.entry(prefix) {
        Ok(None) => true,
        Ok(Some(Entry::Directory)) => image.list(prefix).is_ok_and(|names| names.is_empty()),
        _ => false,
    };
    let prefix = prefix(&implementation).filter(is_free);
    let mut mounts: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut mount = |from: &Path, to: &Path| {
        mounts
            .entry(to.to_owned())
            .or_insert_with(|| from.to_owned());
    };
    // There its libraries find each other, and what they load later.
    if let Some(prefix) = &prefix {
        mount(prefix, prefix);
    }
    let mut places = Vec::new();
    let lent = verdicts
        .iter()
        .filter(|verdict| matches!(verdict.fate, Fate::Lent { .. }));
    for verdict in lent {
        let path = &verdict.host_path;
        let is_there = prefix
            .as_ref()
            .is_some_and(|prefix| path.starts_with(prefix));
        let place = match is_there {
            true => path.clone(),
            false => Path::new(LIBRARIES).join(&verdict.name),
        };
        if !is_there {
            mount(path, &place);
        }
        places.push((verdict.name.clone(), place));
        // What a program finds by a path of its own.
        let own = closure
            .objects
            .iter()
            .find(|object| is_called(object, &verdict.name));
        if let Some(own) = own
            && verdict.class == Class::Driver
            && !own.lent
            && own.path != *path
        {
            mount(path, &own.path);
        }
        let plugins = PLUGINS
            .iter()
            .filter(|(library, _)| begins(&verdict.name, &[library]));
        for (_, directory) in plugins {
            let directory = path.with_file_name(directory);
            if !is_there && host.exists(&directory) {
                mount(&directory, &directory);
            }
        }
    }
    let mounts = mounts.into_iter();
    Swap {
        implementation,
        mounts: mounts
            .map(|(to, from)| Mount::read_only(from, to))
            .collect(),
        places,
    }
}
