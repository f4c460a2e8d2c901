//! Listing the entries of the cache, and removing them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::claim::{PART, SIGN, has_ended, is_left};
use super::{Cache, Kind, owner};
use rootfs::remove;

/// An entry of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The entry's kind.
    pub kind: Kind,
    /// The entry's name.
    pub name: String,
    /// The entry's path.
    pub path: PathBuf,
    /// The entry's size, in bytes.
    pub size: u64,
    /// When the entry was last used.
    pub used: SystemTime,
    /// Whether the entry was never finished, because its process was interrupted.
    pub is_leftover: bool,
}

/// A selection of entries.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The kinds of the entries.
    pub kinds: Vec<Kind>,
    /// Shortest time since the last use.
    pub unused_for: Duration,
}

/// Age at which an unfinished entry of another machine counts as abandoned.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest time for which a marker may be empty.
const NOBODYS: Duration = Duration::from_secs(5);

impl Cache {
    /// Returns all entries, abandoned ones included. Entries that are being made are left out.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be read, or does not belong to the caller alone.
    pub fn list(&self) -> io::Result<Vec<Kept>> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            // Following a link in the cache could remove files elsewhere.
            if self.open(kind, false)?.is_none() {
                continue;
            }
            let directory = self.directory.join(kind.directory());
            let entries = fs::read_dir(&directory).map_err(owner::named(&directory))?;
            for entry in entries {
                // Another process may remove entries at the same time.
                if let Some(kept) = entry.ok().and_then(|entry| look(kind, &entry)) {
                    all.push(kept);
                }
            }
        }
        all.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        Ok(all)
    }

    /// Returns the entries of a selection, and all abandoned entries.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be read.
    pub fn select(&self, selection: &Selection) -> io::Result<Vec<Kept>> {
        let now = SystemTime::now();
        let mut all = self.list()?;
        all.retain(|kept| {
            let unused = now.duration_since(kept.used).unwrap_or_default();
            kept.is_leftover
                || unused >= selection.unused_for && selection.kinds.contains(&kept.kind)
        });
        Ok(all)
    }

    /// Removes entries until the cache has at most `limit` bytes. The least recently used entries
    /// are removed first. `keep` is kept. Unpacked images are kept too, because programs may be
    /// running in them.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be read, or an entry cannot be removed.
    pub fn shrink(&self, limit: u64, keep: &Path) -> io::Result<()> {
        let mut all = self.list()?;
        all.retain(|kept| kept.kind != Kind::Extracted);
        let mut total: u64 = all.iter().map(|kept| kept.size).sum();
        // Unfinished entries are the least useful.
        all.sort_by_key(|kept| (!kept.is_leftover, kept.used));
        for kept in all.iter().filter(|kept| kept.path != keep) {
            if total <= limit {
                break;
            }
            kept.remove()?;
            total = total.saturating_sub(kept.size);
        }
        Ok(())
    }
}

impl Kept {
    /// Removes the entry.
    ///
    /// # Errors
    ///
    /// Fails when the entry cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match remove(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

fn look(kind: Kind, entry: &fs::DirEntry) -> Option<Kept> {
    let path = entry.path();
    let metadata = entry.metadata().ok()?;
    let name = entry.file_name().to_string_lossy().into_owned();
    let used = metadata.modified().ok()?;
    let is_hidden = name.starts_with('.');
    if is_hidden && !is_abandoned(&path, &name, used) {
        return None;
    }
    let size = match metadata.is_dir() {
        true => tree_size(&path),
        false => metadata.len(),
    };
    Some(Kept {
        kind,
        name: match name.strip_suffix(kind.suffix()) {
            Some(name) if !is_hidden => name.to_owned(),
            _ => name,
        },
        path,
        size,
        used,
        is_leftover: is_hidden,
    })
}

/// Whether no process is making an unfinished entry any more. For another machine's entry only the
/// age is known, and clocks differ: an entry that is younger than a day may still be in progress.
fn is_abandoned(path: &Path, name: &str, used: SystemTime) -> bool {
    let age = SystemTime::now().duration_since(used).unwrap_or_default();
    if name.ends_with(PART) {
        return is_left(name) || age > ABANDONED;
    }
    if !name.contains(SIGN) {
        return age > ABANDONED;
    }
    // A maker that was killed before it wrote its identity leaves an empty marker.
    let is_nobodys = fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
    has_ended(path) || is_nobodys && age > NOBODYS || age > ABANDONED
}

fn tree_size(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => tree_size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned());
        (directory, cache)
    }

    fn put(cache: &Cache, kind: Kind, name: &str, age: u64) -> PathBuf {
        let path = cache
            .get(kind, name, |path| fs::write(path, "1234567890"))
            .unwrap();
        let used = SystemTime::now() - Duration::from_secs(age);
        fs::File::open(&path).unwrap().set_modified(used).unwrap();
        path
    }

    #[test]
    fn what_was_not_used_for_long_goes_first() {
        let (_directory, cache) = cache();
        let old = put(&cache, Kind::Image, "old", 3000);
        let older = put(&cache, Kind::Blob, "older", 5000);
        let new = put(&cache, Kind::Image, "new", 10);
        cache.shrink(25, &new).unwrap();
        assert!(!older.exists() && old.exists() && new.exists());
        // Using an entry renews its time.
        put(&cache, Kind::Blob, "middle", 2000);
        cache
            .get(Kind::Image, "old", |_| Err(io::Error::other("made again")))
            .unwrap();
        cache.shrink(20, &new).unwrap();
        assert!(old.exists() && new.exists());
        cache.shrink(0, &new).unwrap();
        assert!(!old.exists() && new.exists(), "what is kept stays");
    }

    #[test]
    fn leftovers_are_seen_and_work_at_hand_is_not() {
        let (directory, cache) = cache();
        put(&cache, Kind::Image, "a", 0);
        let images = directory.path().join("images");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let left = super::super::claim::part_of("b").replace(
            &format!(".{}.", std::process::id()),
            &format!(".{}.", child.id()),
        );
        child.wait().unwrap();
        fs::write(images.join(&left), "half").unwrap();
        let names = |cache: &Cache| -> Vec<String> {
            let all = cache.list().unwrap().into_iter();
            all.map(|kept| kept.name).collect()
        };
        assert_eq!(names(&cache), [left.as_str(), "a"]);
        cache
            .get(Kind::Image, "c", |path| {
                assert_eq!(names(&cache), [left.as_str(), "a"]);
                fs::write(path, "c")
            })
            .unwrap();
        let selection = Selection {
            kinds: Kind::ALL.to_vec(),
            unused_for: Duration::from_secs(100),
        };
        let selected = cache.select(&selection).unwrap();
        assert_eq!(selected.len(), 1);
        assert!(selected[0].is_leftover);
        selected[0].remove().unwrap();
        assert_eq!(names(&cache), ["a", "c"]);
    }

    #[test]
    fn a_tree_that_is_closed_is_removed() {
        use std::os::unix::fs::PermissionsExt;
        let (directory, cache) = cache();
        let tree = directory.path().join("extracted/x");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/c"), "123").unwrap();
        fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o500)).unwrap();
        let all = cache.list().unwrap();
        assert_eq!((all.len(), all[0].size), (1, 3));
        all[0].remove().unwrap();
        assert!(!tree.exists());
    }
}
