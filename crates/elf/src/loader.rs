//! A model of the dynamic loader: finds the files that it would load for a program, without running
//! the program.
//!
//! The rules are those of [ld.so(8)] and of musl's `ldso/dynlink.c`. `LD_PRELOAD` is ignored, since
//! it is not part of a root file system.
//!
//! [ld.so(8)]: https://man7.org/linux/man-pages/man8/ld.so.8.html

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rootfs::{Entry, Files};

use crate::cache::{self, Cache};
use crate::closure::{Closure, Loaded, Problem, check_versions, short};
use crate::linkage::Linkage;
use crate::object::Object;
use crate::search::{MOST_DIRECTORIES, musl_directories, musl_name, system_directories};

/// The path of glibc's cache.
pub const CACHE: &str = "/etc/ld.so.cache";

/// Largest part of a cache that is read, in bytes.
const LIMIT: usize = 4 << 20;

/// Largest number of objects of one program. The largest known programs have some hundreds.
const MOST: usize = 1024;

/// Largest number of files that are looked up, and largest total size of the objects that are kept,
/// in bytes. These limits stop hostile images.
const LOOKS: usize = 200_000;
const KEPT: usize = 64 << 20;

/// The C library that the loader belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// The GNU C library.
    Glibc,
    /// musl.
    Musl,
}

/// The objects that were read, by file system and path. `None` for objects of another machine.
type Known = HashMap<(usize, PathBuf), Option<Rc<Linkage>>>;

/// The path of an object, without links, and its linkage.
type Found = (PathBuf, Rc<Linkage>);

/// The loader of a root file system.
pub struct Loader<'a> {
    root: &'a dyn Files,
    machine: Object,
    flavour: Option<Flavour>,
    cache: Cache,
    directories: Vec<PathBuf>,
    /// The directories of `LD_LIBRARY_PATH`.
    library_path: Vec<PathBuf>,
    injected: BTreeMap<OsString, (&'a dyn Files, PathBuf)>,
    known: RefCell<Known>,
    /// How many files may still be looked up, and how many bytes may still be kept.
    left: Cell<(usize, usize)>,
}

impl fmt::Debug for Loader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("machine", &self.machine)
            .field("flavour", &self.flavour)
            .finish_non_exhaustive()
    }
}

impl<'a> Loader<'a> {
    /// Reads the loader for `machine` that `root` has.
    ///
    /// # Errors
    ///
    /// Fails when the root file system cannot be read.
    pub fn new(root: &'a dyn Files, machine: Object) -> io::Result<Self> {
        let mut loader = Self {
            root,
            machine,
            flavour: None,
            cache: Cache::default(),
            directories: Vec::new(),
            library_path: Vec::new(),
            injected: BTreeMap::new(),
            known: RefCell::new(HashMap::new()),
            left: Cell::new((LOOKS, KEPT)),
        };
        if let Some(bytes) = root.read(Path::new(CACHE), LIMIT)? {
            // The real loader also ignores a cache that is damaged or has another format.
            loader.cache = Cache::parse(&bytes).unwrap_or_default();
        }
        loader.directories = system_directories(&machine);
        if loader.find(OsStr::new("libc.so.6"))?.is_some() {
            loader.flavour = Some(Flavour::Glibc);
        } else if let Some(name) = musl_name(root, &machine)? {
            loader.flavour = Some(Flavour::Musl);
            loader.cache = Cache::default();
            loader.directories = musl_directories(root, &name)?;
        }
        Ok(loader)
    }

    /// Returns the C library that the loader belongs to. Returns `None` when no loader was found.
    #[must_use]
    pub fn flavour(&self) -> Option<Flavour> {
        self.flavour
    }

    /// Returns the machine that the loader is for.
    #[must_use]
    pub fn machine(&self) -> Object {
        self.machine
    }

    /// Returns the cache, which is empty if there is no file.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Sets the directories of `LD_LIBRARY_PATH`. Relative directories are ignored.
    pub fn set_library_path(&mut self, path: &OsStr) {
        let text = path.to_string_lossy();
        let directories = text.split([':', ';']).filter(|one| one.starts_with('/'));
        self.library_path = directories
            .take(MOST_DIRECTORIES)
            .map(PathBuf::from)
            .collect();
    }

    /// Makes the loader use a library of another file system for `name`, in preference to all
    /// others.
    pub fn inject(&mut self, name: OsString, files: &'a dyn Files, path: PathBuf) {
        self.injected.insert(name, (files, path));
    }

    /// Removes an injected library again.
    pub fn withdraw(&mut self, name: &OsStr) {
        self.injected.remove(name);
    }

    /// Returns the version of the GNU C library, such as `2.36`. Returns `None` without a GNU C
    /// library.
    ///
    /// Before 2.34 the version is part of the file's name. Since then every release has added
    /// symbols of its own version.
    ///
    /// # Errors
    ///
    /// Fails when the root file system cannot be read.
    pub fn glibc_version(&self) -> io::Result<Option<String>> {
        let Some((path, linkage)) = self.find(OsStr::new("libc.so.6"))? else {
            return Ok(None);
        };
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let named = name
            .strip_prefix("libc-")
            .and_then(|rest| rest.strip_suffix(".so"));
        if let Some(version) = named {
            return Ok(Some(version.to_owned()));
        }
        let numbers = |text: &str| -> Vec<u32> {
            text.split('.')
                .filter_map(|part| part.parse().ok())
                .collect()
        };
        let versions = linkage.versions_defined.iter();
        let versions = versions.filter_map(|name| name.to_str()?.strip_prefix("GLIBC_"));
        let plain = versions.filter(|text| text.starts_with(|c: char| c.is_ascii_digit()));
        Ok(plain.max_by_key(|text| numbers(text)).map(str::to_owned))
    }

    /// Finds the file that the root itself has for a library's name, and its linkage. The search is
    /// that of a program without search paths of its own; the [library
    /// path](Loader::set_library_path) comes first.
    ///
    /// # Errors
    ///
    /// Fails when the root file system cannot be read.
    pub fn find(&self, name: &OsStr) -> io::Result<Option<Found>> {
        if let Some(found) = self.search(&self.library_path, name)? {
            return Ok(Some(found));
        }
        let cached = cache::flags(&self.machine).and_then(|flags| self.cache.find(name, flags));
        if let Some(entry) = cached
            && let Some(found) = self.fitting(self.root, &entry.path)?
        {
            return Ok(Some(found));
        }
        self.search(&self.directories, name)
    }

    fn search(&self, directories: &[PathBuf], name: &OsStr) -> io::Result<Option<Found>> {
        for directory in directories {
            if let Some(found) = self.fitting(self.root, &directory.join(name))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the object at a path, if it is for this machine.
    fn fitting(&self, files: &dyn Files, path: &Path) -> io::Result<Option<Found>> {
        let too_much = || io::Error::other("libraries without end");
        let (looks, bytes) = self.left.get();
        let looks = looks.checked_sub(1).ok_or_else(too_much)?;
        self.left.set((looks, bytes));
        let place = match files.locate(path) {
            Ok(place) => place,
            Err(error) if is_nothing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(Entry::File { .. }) = place.entry else {
            return Ok(None);
        };
        let key = (std::ptr::from_ref(files).addr(), place.path.clone());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone().map(|linkage| (place.path, linkage)));
        }
        let content = match files.open(&place.path) {
            Err(error) if is_nothing(&error) => None,
            content => content?,
        };
        let linkage = content.and_then(|content| Linkage::read(content).ok());
        let linkage = linkage
            .filter(|linkage| linkage.object == self.machine)
            .map(Rc::new);
        let size = linkage.as_ref().map_or(0, |linkage| linkage.size());
        let bytes = bytes.checked_sub(size).ok_or_else(too_much)?;
        self.left.set((looks, bytes));
        self.known.borrow_mut().insert(key, linkage.clone());
        Ok(linkage.map(|linkage| (place.path, linkage)))
    }

    /// Finds all objects that are loaded for the object at `path` of `files`, which need not be the
    /// root. Returns `None` when the path has no object for this machine.
    ///
    /// # Errors
    ///
    /// Fails when a file system cannot be read.
    pub fn closure(&self, files: &dyn Files, path: &Path) -> io::Result<Option<Closure>> {
        let Some((path, linkage)) = self.fitting(files, path)? else {
            return Ok(None);
        };
        let first = Loaded {
            name: path.clone().into(),
            path,
            injected: !std::ptr::addr_eq(files, self.root),
            linkage,
        };
        let mut closure = Closure::default();
        // The loaded objects by all names that refer to them.
        let mut loaded: BTreeMap<OsString, usize> = BTreeMap::new();
        let mut missing: BTreeSet<OsString> = BTreeSet::new();
        // For each object, the object that it was loaded for. Its `DT_RPATH` is searched too.
        let mut parents: Vec<Option<usize>> = vec![None];
        let mut ahead = VecDeque::from([0]);
        loaded.extend(first.linkage.soname.clone().map(|name| (name, 0)));
        closure.objects.push(first);
        while let Some(index) = ahead.pop_front() {
            let Some(object) = closure.objects.get(index).cloned() else {
                break;
            };
            for name in &object.linkage.needed {
                let known = loaded.contains_key(name) || missing.contains(name);
                if known || self.flavour == Some(Flavour::Musl) && is_musls_own(name) {
                    continue;
                }
                let ancestors = self.ancestors(&closure, &parents, index);
                let Some((path, injected, linkage)) = self.take(name, &object, &ancestors)? else {
                    missing.insert(name.clone());
                    closure.problems.push(Problem::Missing {
                        library: name.clone(),
                        needed_by: short(&object),
                    });
                    continue;
                };
                let next = closure.objects.len();
                if next >= MOST {
                    return Err(io::Error::other("a program of too many libraries"));
                }
                loaded.insert(name.clone(), next);
                if let Some(soname) = &linkage.soname {
                    loaded.entry(soname.clone()).or_insert(next);
                }
                closure.objects.push(Loaded {
                    name: name.clone(),
                    path,
                    injected,
                    linkage,
                });
                parents.push(Some(index));
                ahead.push_back(next);
            }
        }
        check_versions(&mut closure, &loaded);
        Ok(Some(closure))
    }

    /// Finds a library that `object` needs, in the loader's search order.
    fn take(
        &self,
        name: &OsStr,
        object: &Loaded,
        ancestors: &[Loaded],
    ) -> io::Result<Option<(PathBuf, bool, Rc<Linkage>)>> {
        if let Some((files, path)) = self.injected.get(name)
            && let Some((path, linkage)) = self.fitting(*files, path)?
        {
            return Ok(Some((path, true, linkage)));
        }
        let own = |found: Option<Found>| found.map(|(path, linkage)| (path, false, linkage));
        if name.as_bytes().contains(&b'/') {
            return Ok(own(self.fitting(self.root, Path::new(name))?));
        }
        let musl = self.flavour == Some(Flavour::Musl);
        let mut directories = Vec::new();
        if musl {
            directories.extend(self.library_path.iter().cloned());
        }
        let first = object.linkage.runpath.as_ref();
        for object in [object].into_iter().chain(ancestors) {
            let linkage = &object.linkage;
            let path = match (&linkage.rpath, &linkage.runpath) {
                (rpath, Some(runpath)) if musl => Some(rpath.as_ref().unwrap_or(runpath)),
                // For an object with a `DT_RUNPATH`, the loader ignores the `DT_RPATH` of its
                // ancestors.
                (Some(rpath), None) if first.is_none() => Some(rpath),
                _ => None,
            };
            directories.extend(path.into_iter().flat_map(|path| object.expand(path)));
        }
        if !musl {
            directories.extend(self.library_path.iter().cloned());
        }
        if let Some(runpath) = object.linkage.runpath.as_ref().filter(|_| !musl) {
            directories.extend(object.expand(runpath));
        }
        match self.search(&directories, name)? {
            Some(found) => Ok(own(Some(found))),
            None => Ok(own(self.find(name)?)),
        }
    }

    fn ancestors(&self, closure: &Closure, parents: &[Option<usize>], of: usize) -> Vec<Loaded> {
        let above = |index: &usize| parents.get(*index).copied().flatten();
        let chain = std::iter::successors(above(&of), above);
        chain
            .filter_map(|index| closure.objects.get(index).cloned())
            .collect()
    }
}

/// Whether an error means that the loader finds no file there, and searches on.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound, Other, PermissionDenied};
    // ELOOP, a loop of links, is none of these kinds.
    let errno = error.raw_os_error() == Some(40);
    errno
        || [
            InvalidFilename,
            NotADirectory,
            NotFound,
            Other,
            PermissionDenied,
        ]
        .contains(&error.kind())
}

/// Whether musl's loader, which is also its C library, provides this library itself
/// (`load_library`).
fn is_musls_own(name: &OsStr) -> bool {
    let own = ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."];
    let name = name.to_string_lossy();
    let rest = name.strip_prefix("lib").unwrap_or_default();
    own.iter().any(|own| rest.starts_with(own))
}

#[cfg(test)]
mod tests {
    use rootfs::Directory;

    use super::*;

    /// The test machine has a loader of its own, so the result must equal the output of `ldd`.
    #[test]
    fn agrees_with_ldd() {
        let root = Directory::open_root(Path::new("/")).unwrap();
        let own = std::fs::read("/proc/self/exe").unwrap();
        let loader = Loader::new(&root, Object::parse(&own).unwrap()).unwrap();
        assert_eq!(loader.flavour(), Some(Flavour::Glibc));
        let version = std::process::Command::new("ldd")
            .arg("--version")
            .output()
            .unwrap();
        let version = String::from_utf8(version.stdout).unwrap();
        let first = version.lines().next().unwrap();
        assert!(
            first.ends_with(&loader.glibc_version().unwrap().unwrap()),
            "{first}"
        );
        for program in ["/bin/bash", "/usr/bin/git", "/usr/bin/gcc", "/usr/bin/perl"] {
            if !Path::new(program).exists() {
                continue;
            }
            let closure = loader.closure(&root, Path::new(program)).unwrap().unwrap();
            assert_eq!(closure.problems, [], "{program}");
            let mut ours: Vec<PathBuf> = closure
                .objects
                .iter()
                .skip(1)
                .map(|o| o.path.clone())
                .collect();
            let output = std::process::Command::new("ldd")
                .arg(program)
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let words = text.split_whitespace().filter(|word| word.starts_with('/'));
            let mut theirs: Vec<PathBuf> = words
                .map(|word| std::fs::canonicalize(word).unwrap())
                .collect();
            ours.sort();
            theirs.sort();
            theirs.retain(|path| {
                !path
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("ld-linux")
            });
            ours.retain(|path| {
                !path
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("ld-linux")
            });
            assert_eq!(ours, theirs, "{program}");
        }
    }

    #[test]
    fn an_empty_root_has_no_loader() {
        let directory = tempfile::tempdir().unwrap();
        let root = Directory::open_root(directory.path()).unwrap();
        let own = std::fs::read("/proc/self/exe").unwrap();
        let loader = Loader::new(&root, Object::parse(&own).unwrap()).unwrap();
        assert_eq!(
            (loader.flavour(), loader.glibc_version().unwrap()),
            (None, None)
        );
        // A program of the test machine finds no library there, and the problems name them.
        let host = Directory::open_root(Path::new("/")).unwrap();
        let closure = loader
            .closure(&host, Path::new("/bin/bash"))
            .unwrap()
            .unwrap();
        let missing = closure.problems.iter().map(ToString::to_string);
        assert!(
            missing
                .collect::<Vec<_>>()
                .join("\n")
                .contains("needs libc.so.6")
        );
    }
}
