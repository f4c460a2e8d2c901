//! The parts of a vendor's driver on the host, independent of a container.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use elf::Loader;

use crate::Host;
use crate::compat::{Candidate, Class, Verdict};
use crate::note::Note;

/// The parts of a vendor's driver that a container may get.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// The driver's version.
    pub(crate) driver: String,
    /// Libraries and programs.
    pub(crate) candidates: Vec<Candidate>,
    /// Verdicts on libraries that need no check.
    pub(crate) left: Vec<Verdict>,
    /// Libraries that the image has itself in place of the host's, with their paths in the image.
    pub(crate) own: BTreeMap<OsString, PathBuf>,
    /// Data and sockets, which keep the paths that they have on the host.
    pub(crate) files: Vec<PathBuf>,
    /// Device nodes that programs need for any GPU.
    pub(crate) nodes: Vec<PathBuf>,
    /// Other names by which programs ask for a library, each with the library's own name.
    pub(crate) aliases: &'static [(&'static str, &'static str)],
    /// Prefixes of the names of libraries that some programs look for at a fixed path, each with
    /// that path.
    pub(crate) places: &'static [(&'static str, &'static str)],
    /// Libraries that other libraries look for in directories of their own.
    pub(crate) backends: Vec<Backend>,
    /// Libraries without which nothing works.
    pub(crate) vital: &'static [&'static str],
    /// Messages for the user.
    pub(crate) notes: Vec<Note>,
}

/// A library that another looks for beside itself.
#[derive(Debug)]
pub(crate) struct Backend {
    /// The other library: `libgbm.so.1`.
    pub(crate) of: &'static str,
    /// The path at which it looks, from its own directory: `gbm/nvidia-drm_gbm.so`.
    pub(crate) place: &'static str,
    /// The library's path on the host, without links.
    pub(crate) path: PathBuf,
}

/// Returns the libraries that the host's loader would find and that `sort` knows by name. `sort`
/// returns the class of a library, and the library that decides for its family.
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
        // As in the loader, the first of two files with one name wins.
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
