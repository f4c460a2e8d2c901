//! Finds the host's MPI.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use elf::Loader;

use super::{Family, Implementation};
use crate::Host;

/// Places to look for the host's MPI, before the host's own loader does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Hints {
    /// The launcher's program. Its MPI library lies beside it.
    pub launcher: Option<PathBuf>,
    /// Directories of libraries, as modules put them on `LD_LIBRARY_PATH`.
    pub libraries: Vec<PathBuf>,
    /// Prefixes in which MPIs are installed, from modules and the site's configuration.
    pub prefixes: Vec<PathBuf>,
}

/// Directories of libraries below a prefix. Cray's MPI has libraries under MPICH's names in a
/// directory of their own; older Intel MPIs have a directory for each build type.
const BELOW: [&str; 4] = ["lib-abi-mpich", "lib", "lib64", "lib/release"];

impl Family {
    /// Returns the file names of the family's main library.
    pub(super) fn names(self) -> Vec<String> {
        match self {
            Self::Mpich => vec!["libmpi.so.12".to_owned(), "libmpich.so.12".to_owned()],
            Self::OpenMpi(number) => vec![format!("libmpi.so.{number}")],
            Self::Forum => vec!["libmpi_abi.so.1".to_owned()],
        }
    }
}

impl Hints {
    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let beside = self
            .launcher
            .as_deref()
            .and_then(|program| program.parent()?.parent());
        let below = |prefix: &Path| BELOW.map(|directory| prefix.join(directory));
        let launchers = beside.into_iter().flat_map(below);
        let prefixes = self.prefixes.iter().flat_map(move |prefix| below(prefix));
        launchers
            .chain(self.libraries.iter().cloned())
            .chain(prefixes)
    }
}

/// Finds the host's MPI of a family. The launcher's own is preferred.
///
/// # Errors
///
/// Fails when the host cannot be read.
pub(super) fn find(
    host: &Host,
    theirs: &Loader<'_>,
    family: Family,
    hints: &Hints,
) -> io::Result<Option<Implementation>> {
    let names = family.names();
    let in_directory = |directory: PathBuf| {
        names
            .iter()
            .map(move |name| directory.join(name))
            .collect::<Vec<_>>()
    };
    let mut paths: Vec<PathBuf> = hints.directories().flat_map(in_directory).collect();
    for name in &names {
        paths.extend(theirs.find(OsStr::new(name))?.map(|(path, _)| path));
    }
    for path in paths.iter().filter(|path| host.exists(path)) {
        let found = Implementation::of_program(theirs, host.files(), path)?;
        if let Some(found) = found.filter(|found| found.family == family) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
