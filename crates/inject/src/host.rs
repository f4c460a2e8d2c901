//! The host as discovery sees it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use elf::{Cache, Object};

/// The host to look at. Its root is `/` but in tests.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    /// Directories that are searched for programs, in order.
    program_path: Vec<PathBuf>,
}

impl Host {
    /// Describes the host whose root directory is `root` and whose `PATH` is `path`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, path: &OsStr) -> Self {
        let program_path = path
            .as_bytes()
            .split(|byte| *byte == b':')
            .filter(|part| part.starts_with(b"/"))
            .map(|part| PathBuf::from(OsStr::from_bytes(part)))
            .collect();
        Self {
            root: root.into(),
            program_path,
        }
    }

    /// Returns where a path of this host lies for us.
    pub(crate) fn locate(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.locate(path).exists()
    }

    /// Returns the sorted names in a directory; none when it cannot be read.
    pub(crate) fn names(&self, directory: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(self.locate(directory))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    }

    /// Returns the loader's cache; empty where there is none, as on a musl host.
    pub(crate) fn library_cache(&self) -> Cache {
        let path = Path::new("/etc/ld.so.cache");
        let Ok(bytes) = fs::read(self.locate(path)) else {
            return Cache::default();
        };
        Cache::parse(&bytes).unwrap_or_else(|error| {
            tracing::debug!("{}: {error}", path.display());
            Cache::default()
        })
    }

    /// Returns the machine an object is for, `None` when it is none or unreadable.
    pub(crate) fn object(&self, path: &Path) -> Option<Object> {
        use std::io::Read;
        let mut head = [0; Object::HEAD];
        fs::File::open(self.locate(path))
            .ok()?
            .read_exact(&mut head)
            .ok()?;
        Object::parse(&head).ok()
    }

    /// Returns the first executable regular file of that name in `PATH`.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        self.program_path
            .iter()
            .map(|directory| directory.join(name))
            .find(|path| {
                fs::metadata(self.locate(path))
                    .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
            })
    }
}
