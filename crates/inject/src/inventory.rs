//! What a vendor's driver has for containers, before anybody has looked at one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use elf::Loader;

use crate::Host;
use crate::compat::{Candidate, Class, Verdict};

/// What a vendor's driver has for a container.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// The driver's version.
    pub(crate) driver: String,
    /// Libraries and programs.
    pub(crate) candidates: Vec<Candidate>,
    /// Those that need no second look.
    pub(crate) left: Vec<Verdict>,
    /// Libraries that the image brings in place of the host's, and where it has them.
    pub(crate) own: BTreeMap<OsString, PathBuf>,
    /// Data and sockets, which lie in the container where they lie on the host.
    pub(crate) files: Vec<PathBuf>,
    /// Nodes that every use of a GPU needs.
    pub(crate) nodes: Vec<PathBuf>,
    /// Other names by which programs ask for a library, and its own.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Beginnings of the names of libraries that some look for at a fixed place, and that.
    pub(crate) places: &'static [(&'static str, &'static str)],
    /// Where libraries lie that others look for in directories of their own.
    pub(crate) backends: Vec<Backend>,
    /// Libraries without which nothing works.
    pub(crate) vital: &'static [&'static str],
    /// What the user should know.
    pub(crate) notes: Vec<String>,
}

/// A library that another looks for beside itself.
#[derive(Debug)]
pub(crate) struct Backend {
    /// The other: `libgbm.so.1`.
    pub(crate) of: &'static str,
    /// Where it looks, from its own directory: `gbm/nvidia-drm_gbm.so`.
    pub(crate) place: &'static str,
    /// Where it lies on the host, without links.
    pub(crate) path: PathBuf,
}

/// Returns the libraries that the host's loader would find and that `sort` knows by their names: why each is
/// considered, and who speaks for it.
pub(crate) fn libraries(
    host: &Host,
    theirs: &Loader<'_>,
    sort: impl Fn(&str) -> Option<(Class, Option<&'static str>)>,
) -> Vec<Candidate> {
    let Some(flags) = elf::flags(&theirs.machine()) else {
        return Vec::new();
    };
    let entries = theirs.cache().entries.iter();
    let entries = entries.filter(|entry| entry.flags == flags && !entry.is_special());
    let mut seen = BTreeSet::new();
    let candidates = entries.filter_map(|entry| {
        let (class, family) = sort(entry.name.to_str()?)?;
        let path = host.canonical(&entry.path)?;
        // Of two files with one name the first wins, as for the loader.
        seen.insert(entry.name.clone()).then(|| Candidate {
            name: entry.name.clone(),
            path,
            class,
            family,
        })
    });
    candidates.collect()
}

/// Returns those of the programs that the host has.
pub(crate) fn programs<'a>(
    host: &'a Host,
    names: &'a [&str],
) -> impl Iterator<Item = Candidate> + 'a {
    names.iter().filter_map(|name| {
        Some(Candidate {
            name: name.into(),
            path: host.canonical(&host.program(name)?)?,
            class: Class::Program,
            family: None,
        })
    })
}
