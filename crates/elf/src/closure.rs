//! The objects that a loader loads for a program, and the libraries that are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use crate::linkage::Linkage;
use crate::search::expand;

/// An object that the loader loads for a program.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The name by which it was needed; for the program itself, its path.
    pub name: OsString,
    /// The path of its file, without links.
    pub path: PathBuf,
    /// Whether it comes from another file system: a library that was
    /// [injected](crate::Loader::inject).
    pub injected: bool,
    /// The libraries and symbol versions that it needs and provides.
    pub linkage: Rc<Linkage>,
}

/// The objects that a loader loads for a program.
#[derive(Debug, Clone, Default)]
pub struct Closure {
    /// The objects, in the order of loading; the first is the program itself.
    pub objects: Vec<Loaded>,
    /// The missing libraries and versions.
    pub problems: Vec<Problem>,
}

/// Why a program will not start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A library cannot be found.
    Missing {
        /// The library's name.
        library: OsString,
        /// The name of the object that needs it.
        needed_by: OsString,
    },
    /// A library is too old.
    Version {
        /// The library's name.
        library: OsString,
        /// The symbol version that the library does not define.
        version: OsString,
        /// The name of the object that needs it.
        needed_by: OsString,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { library, needed_by } => write!(
                f,
                "{} needs {}, which is not there",
                needed_by.display(),
                library.display()
            ),
            Self::Version {
                library,
                version,
                needed_by,
            } => write!(
                f,
                "{} needs {} of {}, which is older",
                needed_by.display(),
                version.display(),
                library.display()
            ),
        }
    }
}

impl Loaded {
    /// Returns the directories of one of the object's search paths. An injected object will have
    /// another path in the container, so its `$ORIGIN` is unknown.
    pub(crate) fn expand(&self, path: &OsStr) -> Vec<PathBuf> {
        let origin = self.path.parent().filter(|_| !self.injected);
        expand(path, self.linkage.object, origin)
    }
}

/// Returns a short name of an object, for messages.
pub(crate) fn short(object: &Loaded) -> OsString {
    let name = object.linkage.soname.clone();
    name.unwrap_or_else(|| object.path.file_name().unwrap_or(&object.name).to_owned())
}

pub(crate) fn check_versions(closure: &mut Closure, loaded: &BTreeMap<OsString, usize>) {
    let mut problems = BTreeSet::new();
    for object in &closure.objects {
        for need in object
            .linkage
            .versions_needed
            .iter()
            .filter(|need| !need.weak)
        {
            let library = loaded.get(&need.library);
            let Some(library) = library.and_then(|index| closure.objects.get(*index)) else {
                continue;
            };
            let defined = &library.linkage.versions_defined;
            // The loader accepts a library without any versions, with a warning.
            if !defined.is_empty() && !defined.contains(&need.version) {
                problems.insert(Problem::Version {
                    library: need.library.clone(),
                    version: need.version.clone(),
                    needed_by: short(object),
                });
            }
        }
    }
    closure.problems.extend(problems);
}
