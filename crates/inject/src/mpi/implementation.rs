//! Identifies MPI libraries.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use elf::{Closure, Loaded, Loader, Problem};
use launcher::Wireup;
use rootfs::Files;
use serde::{Deserialize, Serialize};

/// A family of MPI libraries that can replace each other: their programs use the same names, types
/// and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// MPICH 3.1 and later, Intel MPI, Cray MPICH, MVAPICH, ParaStation: the [MPICH ABI compatibility
    /// initiative](https://www.mpich.org/abi/).
    Mpich,
    /// Open MPI, with the number of its interface: 40 since version 3.
    OpenMpi(u32),
    /// The ABI of the MPI standard: MPI 5.0, chapter 20.
    Forum,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mpich => "MPICH",
            Self::OpenMpi(_) => "Open MPI",
            Self::Forum => "MPI with the standard ABI",
        })
    }
}

/// The MPI library that a program would use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Implementation {
    /// The family: it can replace any library of this family.
    pub family: Family,
    /// The release, such as `4.1`, if the file shows it.
    pub release: Option<String>,
    /// The library's path, without links.
    pub path: PathBuf,
    /// The wire-ups that it supports. Empty if that is not known.
    pub speaks: Vec<Wireup>,
}

/// The MPI library that a program has or needs, and how it was found.
#[allow(missing_debug_implementations, reason = "a file system has none")]
pub struct Found<'a> {
    /// The library's family.
    pub family: Family,
    /// The library. `None` if the program needs one that the image does not have.
    pub implementation: Option<Implementation>,
    /// The file that leads to the library, with its file system: the program, or else the library
    /// itself.
    pub by: (&'a dyn Files, PathBuf),
    /// Whether the program is linked to it. If not, programs of the image would load it later.
    pub linked: bool,
}

/// The families that a program can use if it does not show which MPI it is made for. The most
/// common comes first.
pub const FAMILIES: [Family; 3] = [Family::OpenMpi(40), Family::Mpich, Family::Forum];

/// The libraries that a program may load later, as programs of interpreters do.
const USUAL: [&str; 3] = ["libmpi.so.40", "libmpi.so.12", "libmpich.so.12"];

/// Finds the MPI library that a program is linked to, or else the one that it could load.
///
/// # Errors
///
/// Fails when a file system cannot be read.
pub fn find<'a>(
    loader: &Loader<'_>,
    image: &'a dyn Files,
    program: (&'a dyn Files, &Path),
) -> io::Result<Option<Found<'a>>> {
    let (files, path) = program;
    let closure = loader.closure(files, path)?.unwrap_or_default();
    let implementation = Implementation::in_closure(&closure, files)?;
    let family = implementation.as_ref().map(|own| own.family);
    if let Some(family) = family.or_else(|| closure.problems.iter().find_map(missing)) {
        return Ok(Some(Found {
            family,
            implementation,
            by: (files, path.to_owned()),
            linked: true,
        }));
    }
    for name in USUAL {
        let Some((path, _)) = loader.find(OsStr::new(name))? else {
            continue;
        };
        let known = Implementation::of_program(loader, image, &path)?;
        return Ok(known.map(|implementation| Found {
            family: implementation.family,
            implementation: Some(implementation),
            by: (image, path),
            linked: false,
        }));
    }
    Ok(None)
}

/// Open MPI's releases, by the second number in the library's name: `libmpi.so.40.30.4` is of 4.1.
const OPEN_MPI: &[(&str, &str)] = &[("10", "3.1"), ("20", "4.0"), ("30", "4.1"), ("40", "5.0")];

/// Directories of Open MPI's plugins, from the library's directory. Debian has one for each
/// release.
const PLUGINS: [&str; 3] = ["openmpi", "openmpi/lib/openmpi3", "openmpi3"];

impl Implementation {
    /// Finds the MPI library that a program of a root file system would load at its start. Returns
    /// `None` for a program without one.
    ///
    /// # Errors
    ///
    /// Fails when the root cannot be read.
    pub fn of_program(
        loader: &Loader<'_>,
        root: &dyn Files,
        program: &Path,
    ) -> io::Result<Option<Self>> {
        let Some(closure) = loader.closure(root, program)? else {
            return Ok(None);
        };
        Self::in_closure(&closure, root)
    }

    fn in_closure(closure: &Closure, root: &dyn Files) -> io::Result<Option<Self>> {
        let known = |object: &&Loaded| family(object).map(|family| (family, (*object).clone()));
        let Some((family, library)) = closure.objects.iter().find_map(|object| known(&object))
        else {
            return Ok(None);
        };
        let needs = |beginning| needs(&library, beginning);
        let speaks = match family {
            Family::OpenMpi(_) => open_mpi_speaks(release(family, &library.path), &library, root)?,
            // Cray's MPI has a PMI library of its own.
            Family::Mpich
                if needs("libpmi.so.0") || needs("libpmi2.so.0") || needs("libpmi_cray") =>
            {
                vec![Wireup::Pmi, Wireup::SlurmLibrary, Wireup::Cray]
            }
            Family::Mpich if needs("libpmix.so") => vec![Wireup::Pmix],
            Family::Mpich => vec![Wireup::Pmi],
            Family::Forum => Vec::new(),
        };
        Ok(Some(Self {
            family,
            release: release(family, &library.path),
            path: library.path,
            speaks,
        }))
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.family)?;
        match &self.release {
            Some(release) => write!(f, " {release}"),
            None => Ok(()),
        }
    }
}

/// Returns the wire-ups that an Open MPI supports. Before 5.0, some builds also support PMI, by a
/// plugin. If no plugin for wire-ups is found, PMI is assumed.
fn open_mpi_speaks(
    release: Option<String>,
    library: &Loaded,
    root: &dyn Files,
) -> io::Result<Vec<Wireup>> {
    if release.is_none_or(|release| release.as_str() >= "5") {
        return Ok(vec![Wireup::Pmix]);
    }
    let plugins = plugins(root, library)?;
    let names = || plugins.iter().filter_map(|path| path.file_name()?.to_str());
    let by = |kind: &str| names().any(|name| name == format!("mca_pmix_{kind}.so"));
    let is_known = names().any(|name| name.starts_with("mca_pmix_"));
    let pmi = !is_known || ["s1", "s2", "cray"].into_iter().any(by);
    let ways = [
        Some(Wireup::Pmix),
        pmi.then_some(Wireup::Pmi),
        // This plugin does nothing without FLUX_JOB_ID.
        by("flux").then_some(Wireup::FluxLibrary),
    ];
    Ok(ways.into_iter().flatten().collect())
}

/// Whether an object is an MPI library.
pub(crate) fn is_mpi(object: &Loaded) -> bool {
    family(object).is_some()
}

/// Returns the plugins of an MPI library, if it is Open MPI's.
pub(crate) fn plugins(root: &dyn Files, library: &Loaded) -> io::Result<Vec<PathBuf>> {
    let beside = library.path.parent().unwrap_or(Path::new("/"));
    let mut plugins = Vec::new();
    if !matches!(family(library), Some(Family::OpenMpi(_))) {
        return Ok(plugins);
    }
    for directory in PLUGINS.map(|directory| beside.join(directory)) {
        let names = root.list(&directory)?.into_iter();
        plugins.extend(names.map(|name| directory.join(name)));
    }
    Ok(plugins)
}

fn family(object: &Loaded) -> Option<Family> {
    let soname = object.linkage.soname.as_deref();
    let names = [
        soname,
        Some(object.name.as_os_str()),
        object.path.file_name(),
    ];
    match names.into_iter().flatten().find_map(family_of_name)? {
        // Open MPI 1.10 used the number that MPICH's family uses now.
        Family::Mpich if needs(object, "libopen-") => Some(Family::OpenMpi(12)),
        family => Some(family),
    }
}

fn needs(object: &Loaded, beginning: &str) -> bool {
    let mut needed = object.linkage.needed.iter();
    needed.any(|name| name.to_string_lossy().starts_with(beginning))
}

fn family_of_name(name: &OsStr) -> Option<Family> {
    let name = name.to_str()?;
    if name.starts_with("libmpi_abi.so") {
        return Some(Family::Forum);
    }
    if name.starts_with("libmpich.so.") || name.starts_with("libmpich_") {
        return Some(Family::Mpich);
    }
    let number = name.strip_prefix("libmpi.so.")?.split('.').next()?;
    match number.parse().ok()? {
        12 => Some(Family::Mpich),
        number => Some(Family::OpenMpi(number)),
    }
}

/// Returns the family of a missing library, if it is an MPI library.
pub fn missing(problem: &Problem) -> Option<Family> {
    match problem {
        Problem::Missing { library, .. } => family_of_name(library),
        Problem::Version { .. } => None,
    }
}

fn release(family: Family, path: &Path) -> Option<String> {
    let Family::OpenMpi(40) = family else {
        return None;
    };
    let name = path.file_name()?.to_str()?;
    let second = name.strip_prefix("libmpi.so.40.")?.split('.').next()?;
    let (_, release) = OPEN_MPI.iter().find(|(number, _)| *number == second)?;
    Some((*release).to_owned())
}
