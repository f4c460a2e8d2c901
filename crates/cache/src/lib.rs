//! The cache: content that was fetched or made once, under a name that identifies it.
//!
//! Hundreds of processes on many machines may need the same entry at the same time, on a shared
//! file system: one makes it, the others wait (`claim`). An entry appears as a whole, by a rename.
//! Unused entries are removed by age (`tidy`); an entry's time is that of its last use. The content
//! is trusted, so entries must belong to the caller alone (`owner`).

#![forbid(unsafe_code)]

mod claim;
mod owner;
mod prune;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use claim::Claim;
use rootfs::remove;

pub use prune::{Kept, Selection};

/// The directory of the cache.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

/// The kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Layers and documents of images, as they are in a registry.
    Blob,
    /// SIFs made from such images.
    Image,
    /// SIFs from registries.
    Oras,
    /// SIFs from a library.
    Library,
    /// SIFs from other addresses on the network.
    Net,
    /// Unpacked images, for hosts that cannot mount them.
    Extracted,
    /// The entry that a name referred to at the last lookup.
    Reference,
    /// Facts about an image and the host.
    Discovery,
    /// Changes that steps of builds have made.
    Build,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Blob,
        Self::Image,
        Self::Oras,
        Self::Library,
        Self::Net,
        Self::Extracted,
        Self::Reference,
        Self::Discovery,
        Self::Build,
    ];

    /// Returns the kind's name, as used by `front cache`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Image => "oci",
            Self::Oras => "oras",
            Self::Library => "library",
            Self::Net => "net",
            Self::Extracted => "extracted",
            Self::Reference => "reference",
            Self::Discovery => "discovery",
            Self::Build => "build",
        }
    }

    fn directory(self) -> &'static str {
        match self {
            Self::Blob => "blobs/sha256",
            Self::Image => "images",
            Self::Oras => "oras",
            Self::Library => "library",
            Self::Net => "net",
            Self::Extracted => "extracted",
            Self::Reference => "references",
            Self::Discovery => "discovery",
            Self::Build => "build",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Image | Self::Oras | Self::Library | Self::Net => ".sif",
            Self::Blob | Self::Extracted | Self::Reference | Self::Discovery | Self::Build => "",
        }
    }
}

/// Age at which an entry's time of use is renewed.
const STALE: Duration = Duration::from_secs(600);

impl Cache {
    /// Returns the cache in a directory, which is created when it is needed.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Returns the path of an entry, even if it does not exist. Does not check whether the entry
    /// can be trusted.
    #[must_use]
    pub fn path(&self, kind: Kind, name: &str) -> PathBuf {
        self.directory
            .join(kind.directory())
            .join(format!("{name}{}", kind.suffix()))
    }

    /// Returns an entry. If there is none, `make` makes it at the path that it gets. If another
    /// process makes it already, waits for that process. There is nothing at the path, except for a
    /// blob: the part that an interrupted process left.
    ///
    /// # Errors
    ///
    /// Fails as `make` does, when the directory cannot be written, or when the directory or
    /// something in it does not belong to the caller alone.
    pub fn get<E: From<io::Error>>(
        &self,
        kind: Kind,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        self.have(kind, name, SystemTime::UNIX_EPOCH, make)
    }

    /// Makes an entry again, in place of an existing one. An entry that another process makes
    /// meanwhile is accepted.
    ///
    /// # Errors
    ///
    /// As for [`Cache::get`].
    pub fn renew<E: From<io::Error>>(
        &self,
        kind: Kind,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        self.have(kind, name, SystemTime::now(), make)
    }

    /// Returns an entry that is not older than `since`, and makes it if needed.
    fn have<E: From<io::Error>>(
        &self,
        kind: Kind,
        name: &str,
        since: SystemTime,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let path = self.path(kind, name);
        let is_there = || self.is_there(kind, name, since);
        if is_there()? {
            return Ok(path);
        }
        self.open(kind, true)?;
        let directory = self.directory.join(kind.directory());
        // An entry that cannot be trusted ends the wait too.
        let Some(claim) = Claim::make(&directory, name, || is_there().unwrap_or(true))? else {
            is_there()?;
            return Ok(path);
        };
        // Another process may have finished the entry between the check and the claim.
        if is_there()? {
            return Ok(path);
        }
        let part = claim.part();
        claim.take_over_parts(kind == Kind::Blob, &part)?;
        let made = make(&part).and_then(|()| {
            owner::close(&part)?;
            match fs::rename(&part, &path) {
                // Another process made the entry too, while this process was stopped.
                Err(error) if error.kind() == io::ErrorKind::NotFound && is_there()? => Ok(()),
                renamed => Ok(renamed?),
            }
        });
        // The received part of a blob is kept for the next attempt. Anything else is made from the
        // start.
        if made.is_err() && kind != Kind::Blob {
            let _ = remove(&part);
        }
        made.map(|()| path)
    }

    /// Returns the path of an entry, if there is one.
    ///
    /// # Errors
    ///
    /// Fails when the entry does not belong to the caller alone.
    pub fn find(&self, kind: Kind, name: &str) -> io::Result<Option<PathBuf>> {
        let is_there = self.is_there(kind, name, SystemTime::UNIX_EPOCH)?;
        Ok(is_there.then(|| self.path(kind, name)))
    }

    /// Returns the content of an entry that is a file of at most `most` bytes. Returns `None` when
    /// there is no such entry.
    ///
    /// # Errors
    ///
    /// Fails when the file is larger, cannot be read, or does not belong to the caller alone.
    pub fn read(&self, kind: Kind, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        match self.is_there(kind, name, SystemTime::UNIX_EPOCH)? {
            true => sys::read_file(&self.path(kind, name), most).map(Some),
            false => Ok(None),
        }
    }

    /// Opens the directory of a kind, and checks that it belongs to the caller alone.
    fn open(&self, kind: Kind, make: bool) -> io::Result<Option<OwnedFd>> {
        owner::open(&self.directory, kind.directory(), make)
    }

    /// Whether there is an entry that is not older than `since`. Also records that the entry is
    /// used.
    fn is_there(&self, kind: Kind, name: &str, since: SystemTime) -> io::Result<bool> {
        let Some(directory) = self.open(kind, false)? else {
            return Ok(false);
        };
        let path = self.path(kind, name);
        let Some(stat) = owner::look(&directory, &path)? else {
            return Ok(false);
        };
        let used = modified(&stat);
        if used < since {
            return Ok(false);
        }
        if SystemTime::now().duration_since(used).unwrap_or_default() > STALE {
            touch(&directory, path.file_name().unwrap_or_default());
        }
        Ok(true)
    }

    /// Removes an entry, if there is one.
    ///
    /// # Errors
    ///
    /// Fails when the entry cannot be removed, or the directory does not belong to the caller
    /// alone.
    pub fn remove(&self, kind: Kind, name: &str) -> io::Result<()> {
        self.open(kind, false)?;
        match fs::remove_file(self.path(kind, name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Records the entry that a name refers to. Nothing is written if that is known already.
    pub fn record(&self, name: &str, entry: &Path) {
        if self.lookup(name).as_deref() == Some(entry) {
            return;
        }
        let Ok(entry) = entry.strip_prefix(&self.directory) else {
            return;
        };
        let path = self.path(Kind::Reference, &key(name));
        let directory = self.directory.join(Kind::Reference.directory());
        let part = directory.join(claim::part_of(&key(name)));
        let written = self
            .open(Kind::Reference, true)
            .and_then(|_| fs::write(&part, entry.as_os_str().as_encoded_bytes()))
            .and_then(|()| owner::close(&part))
            .and_then(|()| fs::rename(&part, &path));
        // The record is only needed when the network fails.
        if let Err(error) = written {
            tracing::debug!(%error, name, "not remembered");
        }
    }

    /// Returns the entry that a name referred to at the last lookup, if it still exists.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        // An entry that is requested counts as used.
        let entry = self.read(Kind::Reference, &key(name), LONGEST_NAME);
        let entry = PathBuf::from(std::ffi::OsString::from_vec(entry.ok()??));
        let is_entry = |kind: &Kind| {
            let name = entry.strip_prefix(kind.directory()).ok()?.to_str()?;
            let name = name.strip_suffix(kind.suffix())?;
            let is_name = !name.is_empty() && !name.contains('/');
            let is_there = is_name && self.is_there(*kind, name, SystemTime::UNIX_EPOCH).ok()?;
            is_there.then(|| self.path(*kind, name))
        };
        Kind::ALL.iter().find_map(is_entry)
    }
}

/// Largest record of a name's entry, in bytes.
const LONGEST_NAME: u64 = 4096;

/// Returns when an entry was last used.
fn modified(stat: &rustix::fs::Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
    let rest = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::new(seconds, rest)
}

fn key(name: &str) -> String {
    oci::Digest::of(name.as_bytes()).hex().to_owned()
}

/// Records that an entry is used now. An error is ignored.
fn touch(directory: impl AsFd, name: &std::ffi::OsStr) {
    let now = rustix::fs::Timestamps {
        last_access: now(),
        last_modification: now(),
    };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    let _ = rustix::fs::utimensat(directory, name, &now, flags);
}

fn now() -> rustix::fs::Timespec {
    rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn many_want_it_and_one_makes_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("cache"));
        let made = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let path = cache.get(Kind::Image, "a", |path| {
                        made.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(200));
                        fs::write(path, "image")
                    });
                    assert_eq!(fs::read_to_string(path.unwrap()).unwrap(), "image");
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
        let left = fs::read_dir(directory.path().join("cache/images")).unwrap();
        assert_eq!(left.count(), 1, "nothing but the image");
    }

    #[test]
    fn a_failure_leaves_nothing_but_the_beginning_of_a_blob() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned());
        let fail = |path: &Path| {
            fs::write(path, "half")?;
            Err(io::Error::other("no more"))
        };
        assert!(cache.get(Kind::Image, "a", fail).is_err());
        let images = directory.path().join("images");
        assert_eq!(fs::read_dir(images).unwrap().count(), 0);
        assert!(cache.get(Kind::Blob, "a", fail).is_err());
        let whole = cache.get(Kind::Blob, "a", |path| {
            assert_eq!(fs::read_to_string(path)?, "half");
            fs::write(path, "whole")
        });
        assert_eq!(fs::read_to_string(whole.unwrap()).unwrap(), "whole");
        let blobs = directory.path().join("blobs/sha256");
        assert_eq!(fs::read_dir(blobs).unwrap().count(), 1);
    }

    #[test]
    fn a_name_leads_to_what_it_led_to_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned());
        assert_eq!(cache.lookup("docker://a"), None);
        let path = cache
            .get(Kind::Image, "a", |path| fs::write(path, "x"))
            .unwrap();
        cache.record("docker://a", &path);
        assert_eq!(cache.lookup("docker://a"), Some(path.clone()));
        fs::remove_file(path).unwrap();
        assert_eq!(cache.lookup("docker://a"), None);
        let record = cache.path(Kind::Reference, &key("docker://a"));
        for elsewhere in ["/etc/passwd", "../x"] {
            fs::write(&record, elsewhere).unwrap();
            assert_eq!(cache.lookup("docker://a"), None);
        }
    }

    #[test]
    fn what_is_renewed_takes_the_place_of_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned());
        let renew = |text: &'static str| {
            let write = move |path: &Path| fs::write(path, text);
            cache.renew(Kind::Net, "a", write).unwrap()
        };
        let path = renew("one");
        thread::sleep(Duration::from_millis(20));
        assert_eq!(renew("two"), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        // Eight threads at once: those that come while one makes the entry get that entry.
        let made = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let slowly = |path: &Path| {
                        made.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(200));
                        fs::write(path, "three")
                    };
                    cache.renew(Kind::Net, "a", slowly).unwrap();
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert_eq!(
            fs::read_dir(directory.path().join("net")).unwrap().count(),
            1
        );
    }
}
