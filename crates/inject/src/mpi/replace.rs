//! Replaces the image's MPI by the host's.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use elf::{Closure, Flavour, Loaded, Loader, Problem};
use rootfs::{Entry, Files};
use serde::{Deserialize, Serialize};

use super::host::{self, Hints};
use super::{Family, Implementation, plugins};
use crate::compat::{Candidate, Class, add};
use crate::host_libraries::{HostLibraries, Inside, begins, is_of_the_compiler};
use crate::{Host, View};

/// The host's MPI, and the libraries that replace the image's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The host's MPI.
    pub implementation: Implementation,
    /// The libraries to inject.
    pub host_libraries: HostLibraries,
}

/// Whether a problem is that a library of MPI is missing.
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
    /// The library's family.
    pub family: Family,
    /// The image's library that the host's is to replace; `None` where the image has none.
    pub own: Option<&'a Implementation>,
}

/// Prefixes of the names of MPI's libraries, including the bindings of other languages.
const OF_MPI: &[&str] = &["libmpi", "libopen-pal", "libopen-rte"];

/// Debian's names of libraries, with the names that they have elsewhere.
const ALIASES: &[(&str, &str)] = &[
    ("libmpich.so.12", "libmpi.so.12"),
    ("libmpichfort.so.12", "libmpifort.so.12"),
    ("libmpichcxx.so.12", "libmpicxx.so.12"),
];

/// Determines how the host's MPI can replace that of an image's program, or be added if the image
/// has none. The inner error says why it cannot.
///
/// # Errors
///
/// Fails when the image or the host cannot be read.
pub fn swap(
    view: View<'_>,
    program: (&dyn Files, &Path),
    need: Wanted<'_>,
    hints: &Hints,
) -> io::Result<Result<Swap, String>> {
    let View { host, image, .. } = view;
    let theirs = Loader::new(host.files(), view.machine)?;
    let inside = Inside {
        view,
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

/// Returns the usual name of a library, if its name is one of Debian's.
fn usual(name: &OsStr) -> &OsStr {
    let known = ALIASES.iter().find(|(debian, _)| name == *debian);
    known.map_or(name, |(_, usual)| OsStr::new(usual))
}

/// Returns the host's libraries to inject: one for each of MPI's in the program's closure, and
/// their dependencies. The inner error says why that is not possible.
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
    // A program may ask for the library by Debian's name. Programs of interpreters load it later,
    // so the usual names are always added.
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
    // An image that has an MPI has the dependencies of MPI's plugins.
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
        // Open MPI's internal libraries come as dependencies of its main library.
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
        // If a search path in the program leads to MPI's directory, libraries in this directory are
        // found first.
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

/// Whether a library lies in the directory of the image's MPI, and that is not a system directory.
fn is_beside_mpi(object: &Loaded, closure: &Closure) -> bool {
    let mpi = closure
        .objects
        .iter()
        .find(|object| begins(&object.name, &["libmpi.so", "libmpich.so"]));
    let directory = mpi.and_then(|mpi| mpi.path.parent());
    directory.is_some() && object.path.parent() == directory && !is_usual(&object.path)
}

/// Whether a path is in a system directory.
fn is_usual(path: &Path) -> bool {
    let usual = ["/usr/lib", "/usr/lib64", "/usr/local", "/lib", "/lib64"].map(Path::new);
    usual.iter().any(|usual| path.starts_with(usual))
}

/// Returns a symbol of MPI that the program or its libraries need and the host's libraries do not
/// define.
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

/// Returns the directory in which the host's MPI is installed, if MPI has it for itself and the
/// image has nothing at its path.
fn whole(implementation: &Implementation, image: &dyn Files) -> Option<PathBuf> {
    let directory = implementation.path.parent()?;
    if is_usual(directory) {
        return None;
    }
    let above = directory.ancestors().find(|path| {
        let name = path.file_name().unwrap_or_default();
        name != "lib" && name != "lib64" && name != "release"
    })?;
    // An earlier mount leaves an empty directory.
    let is_free = match image.entry(above) {
        Ok(None) => true,
        Ok(Some(Entry::Directory)) => image.list(above).is_ok_and(|names| names.is_empty()),
        _ => false,
    };
    (is_free && above.components().count() > 2).then(|| above.to_owned())
}
