//! Replaces libraries of an image by the host's, or adds the host's where the image has none.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use elf::{Cache, CacheEntry, Closure, Loaded, Loader, Object, Problem};
use rootfs::Files;
use serde::{Deserialize, Serialize};

use crate::compat::{Candidate, Class, Decision, Verdict, check};
use crate::{Edits, Host, LIBRARIES, Mount, View};

/// Libraries of the host, and the mounts by which they get into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLibraries {
    /// The mounts.
    pub mounts: Vec<Mount>,
    /// The paths of the libraries in the container, by the names that programs ask for.
    places: Vec<(OsString, PathBuf)>,
}

impl HostLibraries {
    /// Returns the libraries: names and paths on the host.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = (OsString, PathBuf)> + '_ {
        self.places.iter().map(|(name, place)| {
            let mount = self
                .mounts
                .iter()
                .find(|mount| mount.container_path == *place);
            // A library in a directory that is bound as a whole has its path on the host.
            let path = mount.map_or(place, |mount| &mount.host_path);
            (name.clone(), path.clone())
        })
    }

    /// Binds the libraries that the verdicts inject. Libraries below `whole` are in a directory
    /// that is bound at its own path. `closure` is that of the program, which may find some
    /// libraries by paths of its own.
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
        // In their own directory, its libraries find each other, and the files that they load
        // later.
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
            // The program finds this library by a path of its own.
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
            // Some libraries look for plugins at a path set at build time, others beside
            // themselves.
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

impl Edits {
    /// Adds libraries of the host to the edits, so that programs of `image`, which are for
    /// `machine`, find them.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read.
    pub fn with_libraries(
        mut self,
        libraries: &HostLibraries,
        image: &dyn Files,
        machine: Object,
    ) -> io::Result<Self> {
        if libraries.mounts.is_empty() {
            return Ok(self);
        }
        for mount in &libraries.mounts {
            let place = &mount.container_path;
            // The first mount stays: a library that two sets need is injected once.
            if !self.mounts.iter().any(|own| own.container_path == *place) {
                self.mounts.push(mount.clone());
            }
        }
        let known = self.library_cache.as_deref();
        let mut cache = match known.and_then(|bytes| Cache::parse(bytes).ok()) {
            Some(cache) => cache,
            None => Loader::new(image, machine)?.cache().clone(),
        };
        if let Some(flags) = elf::flags(&machine) {
            for (name, place) in &libraries.places {
                cache.replace(CacheEntry::new(name.clone(), place.clone(), flags));
            }
        }
        self.library_cache = cache.to_bytes();
        Ok(self)
    }
}

/// An image as its programs see it after libraries of the host have been injected.
#[derive(Clone)]
pub(crate) struct Inside<'a> {
    pub(crate) view: View<'a>,
    pub(crate) injected: Vec<(OsString, PathBuf)>,
}

impl<'a> Inside<'a> {
    /// Returns the loader of the image's programs.
    pub(crate) fn loader(&self) -> io::Result<Loader<'a>> {
        let mut loader = Loader::new(self.view.image, self.view.machine)?;
        loader.set_library_path(self.view.library_path.unwrap_or_default());
        for (name, path) in &self.injected {
            loader.inject(name.clone(), self.view.host.files(), path.clone());
        }
        Ok(loader)
    }

    /// Checks libraries of the host. Where a library of the image is too old for another of them,
    /// takes the host's too. The inner error is the reason why the libraries cannot be used.
    pub(crate) fn check_all(
        &self,
        mut wanted: Vec<Candidate>,
    ) -> io::Result<Result<Vec<Verdict>, String>> {
        loop {
            let mut loader = self.loader()?;
            let verdicts = check(self.view.host, &mut loader, &wanted, &BTreeMap::new())?;
            let left = |verdict: &&Verdict| matches!(verdict.decision, Decision::Left { .. });
            let Some(first) = verdicts.iter().find(left) else {
                return Ok(Ok(verdicts));
            };
            let mut old = BTreeSet::new();
            for verdict in verdicts.iter().filter(left) {
                let closure = loader.closure(self.view.host.files(), &verdict.host_path)?;
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

/// Libraries of the C library and the compilers. The image's are always used, new enough or not.
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

/// Whether a library is of the C library or the compilers, so that every image has its own.
pub(crate) fn is_of_the_compiler(name: &OsStr) -> bool {
    begins(name, OF_THE_COMPILER)
}

/// Whether a name begins with one of some prefixes.
pub(crate) fn begins(name: &OsStr, beginnings: &[&str]) -> bool {
    let name = name.to_string_lossy();
    beginnings
        .iter()
        .any(|beginning| name.starts_with(beginning))
}

/// Whether a library has a name: as the requested name, the soname or the file name.
pub(crate) fn is_called(object: &Loaded, name: &OsStr) -> bool {
    let soname = object.linkage.soname.as_deref();
    object.name == name || soname == Some(name) || object.path.file_name() == Some(name)
}

/// Libraries that load plugins from a directory beside themselves, with the directory's name.
const PLUGINS: &[(&str, &str)] = &[
    ("libfabric.so", "libfabric"),
    ("libucs.so", "ucx"),
    ("libmpi.so.40", "openmpi"),
    ("libopen-pal.so", "openmpi"),
    ("libpmix.so", "pmix2"),
];

/// Returns the directory from which a library of the host loads plugins, and the directory's name.
fn plugins(host: &Host, path: &Path, name: &OsStr) -> Option<(PathBuf, &'static str)> {
    let known = |(library, _): &&(&str, &str)| begins(name, &[library]);
    let (_, directory) = PLUGINS.iter().find(known)?;
    let path = path.with_file_name(directory);
    host.exists(&path).then_some((path, *directory))
}
