//! Having libraries of the host's replace those of an image, or for none.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use elf::{Cache, CacheEntry, Closure, Loaded, Loader, Object, Problem};
use serde::{Deserialize, Serialize};
use tree::Files;

use crate::compat::{Candidate, Class, Decision, Verdict, check};
use crate::{Edits, Host, LIBRARIES, Mount};

/// How libraries of the host's get into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLibraries {
    /// What is bound.
    pub mounts: Vec<Mount>,
    /// Where libraries are inside, by the names that programs ask for.
    places: Vec<(OsString, PathBuf)>,
}

impl HostLibraries {
    /// Adds it to what a container gets otherwise.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read.
    pub fn add_to(&self, edits: &mut Edits, image: &dyn Files, machine: Object) -> io::Result<()> {
        for mount in &self.mounts {
            let place = &mount.container_path;
            // What came first holds: a library that two of them need is injected once.
            if !edits.mounts.iter().any(|own| own.container_path == *place) {
                edits.mounts.push(mount.clone());
            }
        }
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

    /// Returns the libraries by their names, and where each lies on the host.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = (OsString, PathBuf)> + '_ {
        self.places.iter().map(|(name, place)| {
            let mount = self
                .mounts
                .iter()
                .find(|mount| mount.container_path == *place);
            // Those in a directory that is bound whole lie where they lie on the host.
            let path = mount.map_or(place, |mount| &mount.host_path);
            (name.clone(), path.clone())
        })
    }

    /// Binds what the verdicts inject. Libraries below `whole` are in a directory that is bound at its own
    /// place. `closure` is that of the program, which may find some by paths of its own.
    pub(crate) fn assemble(
        host: &Host,
        verdicts: &[Verdict],
        closure: &Closure,
        whole: Option<&Path>,
    ) -> Self {
        let mut mounts: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
        let mut mount = |from: &Path, to: &Path| {
            mounts
                .entry(to.to_owned())
                .or_insert_with(|| from.to_owned());
        };
        // There its libraries find each other, and what they load later.
        if let Some(whole) = whole {
            mount(whole, whole);
        }
        let mut places = Vec::new();
        let injected = verdicts
            .iter()
            .filter(|verdict| matches!(verdict.decision, Decision::Injected { .. }));
        for verdict in injected {
            let path = &verdict.host_path;
            let is_there = whole.is_some_and(|whole| path.starts_with(whole));
            let place = match is_there {
                true => path.clone(),
                false => Path::new(LIBRARIES).join(&verdict.name),
            };
            if !is_there {
                mount(path, &place);
            }
            let mut shown = vec![place.clone()];
            places.push((verdict.name.clone(), place));
            // What a program finds by a path of its own.
            let own = closure
                .objects
                .iter()
                .find(|object| is_called(object, &verdict.name));
            if let Some(own) = own
                && verdict.class == Class::Driver
                && !own.injected
                && own.path != *path
            {
                mount(path, &own.path);
                shown.push(own.path.clone());
            }
            // Some look where they were built for, others beside themselves.
            let plugins = plugins(host, path, &verdict.name).filter(|_| !is_there);
            if let Some((directory, name)) = plugins {
                mount(&directory, &directory);
                for place in shown {
                    mount(&directory, &place.with_file_name(name));
                }
            }
        }
        let mounts = mounts.into_iter();
        Self {
            mounts: mounts
                .map(|(to, from)| Mount::read_only(from, to))
                .collect(),
            places,
        }
    }
}

/// An image as its programs see it: with their `LD_LIBRARY_PATH`, and with libraries of the host's that are
/// injected already.
#[derive(Clone)]
pub(crate) struct Inside<'a> {
    pub(crate) host: &'a Host,
    pub(crate) image: &'a dyn Files,
    pub(crate) machine: Object,
    pub(crate) library_path: Option<&'a OsStr>,
    pub(crate) injected: Vec<(OsString, PathBuf)>,
}

impl<'a> Inside<'a> {
    /// Returns the loader that they have.
    pub(crate) fn loader(&self) -> io::Result<Loader<'a>> {
        let mut loader = Loader::new(self.image, self.machine)?;
        loader.set_library_path(self.library_path.unwrap_or_default());
        for (name, path) in &self.injected {
            loader.inject(name.clone(), self.host.files(), path.clone());
        }
        Ok(loader)
    }

    /// Weighs libraries, and takes the host's also in place of one of the image's that is too old for
    /// another. Says, in words, what is in the way.
    pub(crate) fn check_all(
        &self,
        mut wanted: Vec<Candidate>,
    ) -> io::Result<Result<Vec<Verdict>, String>> {
        loop {
            let mut loader = self.loader()?;
            let verdicts = check(self.host, &mut loader, &wanted, &BTreeMap::new())?;
            let left = |verdict: &&Verdict| matches!(verdict.decision, Decision::Left { .. });
            let Some(first) = verdicts.iter().find(left) else {
                return Ok(Ok(verdicts));
            };
            let mut old = BTreeSet::new();
            for verdict in verdicts.iter().filter(left) {
                let closure = loader.closure(self.host.files(), &verdict.host_path)?;
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
            match (replaced.next(), &first.decision) {
                (Some(candidate), _) => candidate.class = Class::Driver,
                (None, Decision::Left { reason }) => {
                    return Ok(Err(format!("{}: {reason}", first.name.display())));
                }
                (None, _) => return Ok(Ok(verdicts)),
            }
        }
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

/// Whether a library is one that every image has its own of.
pub(crate) fn is_of_the_compiler(name: &OsStr) -> bool {
    begins(name, OF_THE_COMPILER)
}

/// Whether a name begins in one of some ways.
pub(crate) fn begins(name: &OsStr, beginnings: &[&str]) -> bool {
    let name = name.to_string_lossy();
    beginnings
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// Whether a library answers to a name.
pub(crate) fn is_called(object: &Loaded, name: &OsStr) -> bool {
    let soname = object.linkage.soname.as_deref();
    object.name == name || soname == Some(name) || object.path.file_name() == Some(name)
}

/// Libraries that load more from a directory beside themselves.
const PLUGINS: &[(&str, &str)] = &[
    ("libfabric.so", "libfabric"),
    ("libucs.so", "ucx"),
    ("libmpi.so.40", "openmpi"),
    ("libopen-pal.so", "openmpi"),
    ("libpmix.so", "pmix2"),
];

/// Returns the directory from which a library of the host's loads more, and what that is called.
fn plugins(host: &Host, path: &Path, name: &OsStr) -> Option<(PathBuf, &'static str)> {
    let known = |(library, _): &&(&str, &str)| begins(name, &[library]);
    let (_, directory) = PLUGINS.iter().find(known)?;
    let path = path.with_file_name(directory);
    host.exists(&path).then_some((path, *directory))
}
