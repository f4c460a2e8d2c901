//! Having the host's MPI replace the image's.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use elf::{Closure, Flavour, Loaded, Loader, Object, Problem};
use serde::{Deserialize, Serialize};
use tree::{Entry, Files};

use super::host::{self, Hints};
use super::{Family, Implementation, plugins};
use crate::Host;
use crate::compat::{Candidate, Class, add};
use crate::host_libraries::{HostLibraries, Inside, begins, is_of_the_compiler};

/// What having the host's MPI takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The host's.
    pub implementation: Implementation,
    /// How it gets into a container.
    pub host_libraries: HostLibraries,
}

/// Whether a library is missing that a proxy has.
#[must_use]
pub fn is_of_mpi(problem: &Problem) -> bool {
    match problem {
        Problem::Missing { library, .. } => begins(library, OF_MPI),
        Problem::Version { .. } => false,
    }
}

/// The MPI that a program needs.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The family that the library is of.
    pub family: Family,
    /// The image's library that the host's is to replace; `None` where the image has none.
    pub own: Option<&'a Implementation>,
}

/// What MPI libraries' names begin with, the bindings of other languages among them.
const OF_MPI: &[&str] = &["libmpi", "libopen-pal", "libopen-rte"];

/// Names of one library in Debian and elsewhere.
const ALIASES: &[(&str, &str)] = &[
    ("libmpich.so.12", "libmpi.so.12"),
    ("libmpichfort.so.12", "libmpifort.so.12"),
    ("libmpichcxx.so.12", "libmpicxx.so.12"),
];

/// Works out how the host's MPI can replace that of an image's program, which will run with this
/// `LD_LIBRARY_PATH`, or be where there is none; says why not, in words, where it cannot.
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
    need: Wanted<'_>,
    hints: &Hints,
) -> io::Result<Result<Swap, String>> {
    let theirs = Loader::new(host.files(), machine)?;
    let inside = Inside {
        host,
        image,
        machine,
        library_path,
        injected: Vec::new(),
    };
    let loader = inside.loader()?;
    if loader.flavour() != Some(Flavour::Glibc) {
        return Ok(Err("the image has no GNU C library".to_owned()));
    }
    let Some(implementation) = host::find(host, &theirs, need.family, hints)? else {
        return Ok(Err(format!("the host has no {}", need.family)));
    };
    if let Some(own) = need.own
        && let (Some(theirs), Some(ours)) = (&implementation.release, &own.release)
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
        need.own.is_some(),
    )? {
        Ok(wanted) => wanted,
        Err(reason) => return Ok(Err(reason)),
    };
    if let Some(symbol) = missing_symbol(host, files, image, &image_closure, &wanted)? {
        return Ok(Err(format!(
            "the host's {implementation} has no {symbol}, which the program uses"
        )));
    }
    let verdicts = match inside.check_all(wanted)? {
        Ok(verdicts) => verdicts,
        Err(reason) => return Ok(Err(reason)),
    };
    let whole = whole(&implementation, image);
    let host_libraries = HostLibraries::assemble(host, &verdicts, &image_closure, whole.as_deref());
    Ok(Ok(Swap {
        implementation,
        host_libraries,
    }))
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
    has_own: bool,
) -> io::Result<Result<Vec<Candidate>, String>> {
    let beside = implementation.path.parent().unwrap_or(Path::new("/"));
    let mut wanted: Vec<Candidate> = Vec::new();
    // A program may ask for the library by a name of Debian's; the interpreters' ask for it later.
    let there = image_closure.objects.iter().map(|object| &object.name);
    let missing = image_closure
        .problems
        .iter()
        .filter_map(|problem| match problem {
            Problem::Missing { library, .. } => Some(library),
            Problem::Version { .. } => None,
        });
    let asked = there.chain(missing).filter(|name| begins(name, OF_MPI));
    let main = implementation.family.names();
    let names: BTreeSet<OsString> = asked
        .cloned()
        .chain(main.iter().map(OsString::from))
        .collect();
    let mut closures = vec![host_closure.clone()];
    // An image with an MPI has what its plugins need.
    if let Some(library) = host_closure.objects.first().filter(|_| !has_own) {
        for plugin in plugins(host.files(), library)? {
            closures.extend(theirs.closure(host.files(), &plugin)?);
        }
    }
    for name in &names {
        let is_main = main.iter().any(|main| name == main.as_str());
        if is_main {
            add(&mut wanted, name, &implementation.path, Class::Driver);
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
        add(&mut wanted, name, &path, Class::Driver);
        closures.extend(theirs.closure(host.files(), &path)?);
    }
    for object in closures
        .iter()
        .flat_map(|closure| closure.objects.iter().skip(1))
    {
        if is_of_the_compiler(&object.name) {
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
        add(&mut wanted, &object.name, &object.path, class);
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

/// Where a host's MPI is installed, if that is a place of its own at which the image has nothing.
fn whole(implementation: &Implementation, image: &dyn Files) -> Option<PathBuf> {
    let directory = implementation.path.parent()?;
    if is_usual(directory) {
        return None;
    }
    let above = directory.ancestors().find(|path| {
        let name = path.file_name().unwrap_or_default();
        name != "lib" && name != "lib64" && name != "release"
    })?;
    // An empty directory is left of an earlier mount.
    let is_free = match image.entry(above) {
        Ok(None) => true,
        Ok(Some(Entry::Directory)) => image.list(above).is_ok_and(|names| names.is_empty()),
        _ => false,
    };
    (is_free && above.components().count() > 2).then(|| above.to_owned())
}
