//! What a program is put together from, and what it lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use crate::linkage::Linkage;
use crate::search::expand;

/// An object that a program is put together from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The name it was asked for by; for the first, its path.
    pub name: OsString,
    /// Where it lies, without links.
    pub path: PathBuf,
    /// Whether it is of another file system: one of those that were [injected](crate::Loader::inject).
    pub injected: bool,
    /// What it asks for and offers.
    pub linkage: Rc<Linkage>,
}

/// What a program is put together from.
#[derive(Debug, Clone, Default)]
pub struct Closure {
    /// The objects, in the order of loading; the first is the program itself.
    pub objects: Vec<Loaded>,
    /// What is missing.
    pub problems: Vec<Problem>,
}

/// Why a program will not start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A library is nowhere.
    Missing {
        /// Its name.
        library: OsString,
        /// Who needs it.
        needed_by: OsString,
    },
    /// A library is too old.
    Version {
        /// Its name.
        library: OsString,
        /// The version that it lacks.
        version: OsString,
        /// Who needs it.
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
    /// The directories of a search path of its own. What was injected will lie elsewhere than where it lies now.
    pub(crate) fn expand(&self, path: &OsStr) -> Vec<PathBuf> {
        let origin = self.path.parent().filter(|_| !self.injected);
        expand(path, self.linkage.object, origin)
    }
}

/// What an object is called among people.
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
            // One without any versions is taken for what is asked, with a warning of the loader's.
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
