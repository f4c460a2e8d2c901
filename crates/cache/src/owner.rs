//! The owner of the cache: its content is trusted, so no other user may be able to write it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, statat};
use rustix::io::Errno;

/// Mode bits that let other users write.
const OTHERS: u32 = 0o022;

/// Opens the directory of a kind, at `names` below the cache's directory. Returns `None` when it
/// does not exist. If `make` is set, it is created with access for its owner only.
///
/// # Errors
///
/// Fails when the cache's directory, or one below it, belongs to another user or can be written by
/// others.
pub(super) fn open(cache: &Path, names: &str, make: bool) -> io::Result<Option<OwnedFd>> {
    if make {
        use std::os::unix::fs::DirBuilderExt;
        // Other users must not read content from a registry with passwords.
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(cache);
        made.map_err(|error| {
            let reason = format!(
                "{}: {}; choose another directory with APPTAINER_CACHEDIR",
                cache.display(),
                text::message(&error)
            );
            io::Error::new(error.kind(), reason)
        })?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The user may have replaced the whole cache by a link, but nothing inside it.
    let mut directory = match openat(CWD, cache, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened.map_err(|errno| failed(cache, errno))?,
    };
    check(&fstat(&directory)?, cache)?;
    let mut path = cache.to_owned();
    for name in names.split('/') {
        path.push(name);
        if make
            && let Err(errno) = mkdirat(&directory, name, Mode::RWXU)
            && errno != Errno::EXIST
        {
            return Err(failed(&path, errno));
        }
        directory = match openat(&directory, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(no_part_of_it(&path)),
            opened => opened.map_err(|errno| failed(&path, errno))?,
        };
        check(&fstat(&directory)?, &path)?;
    }
    Ok(Some(directory))
}

/// Returns the status of an entry in an open directory, or `None` when it does not exist. `path` is
/// its name in error messages.
///
/// # Errors
///
/// Fails when the entry belongs to another user, can be written by others, or is neither a file nor
/// a directory.
pub(super) fn look(directory: impl AsFd, path: &Path) -> io::Result<Option<Stat>> {
    let name = path.file_name().unwrap_or_default();
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        stat => stat.map_err(|errno| failed(path, errno))?,
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory => check(&stat, path)?,
        _ => return Err(no_part_of_it(path)),
    }
    Ok(Some(stat))
}

/// Removes write permission for others from a new entry. The user's umask may have given it to the
/// group.
pub(super) fn close(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = path.symlink_metadata()?.permissions();
    if permissions.mode() & OTHERS != 0 {
        permissions.set_mode(permissions.mode() & !OTHERS);
        std::fs::set_permissions(path, permissions)?;
    }
    Ok(())
}

fn check(stat: &Stat, path: &Path) -> io::Result<()> {
    let path = path.display();
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != own {
        return Err(refused(format!(
            "{path} belongs to user {}, and not to user {own}, who would believe what is in it; choose \
             another directory with APPTAINER_CACHEDIR",
            stat.st_uid
        )));
    }
    if stat.st_mode & OTHERS != 0 {
        return Err(refused(format!(
            "{path} may be written by others (mode {:o}), and what is in it is believed; \
             `chmod go-w {path}`, or choose another directory with APPTAINER_CACHEDIR",
            stat.st_mode & 0o7777
        )));
    }
    Ok(())
}

fn no_part_of_it(path: &Path) -> io::Error {
    refused(format!(
        "{} is a link, or no directory, and no part of the cache; remove it, or choose another directory \
         with APPTAINER_CACHEDIR",
        path.display()
    ))
}

fn refused(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

fn failed(path: &Path, errno: Errno) -> io::Error {
    named(path)(errno.into())
}

/// Adds a path in front of an error message.
pub(super) fn named(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {}", text::message(&error)))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::PathBuf;

    use super::*;
    use crate::{Cache, Kind};

    /// Makes a cache with an entry that is recorded under a name, and returns its path.
    fn kept() -> (tempfile::TempDir, Cache, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::new(home.path().join("cache"));
        let path = cache.get(Kind::Image, "a", |path| fs::write(path, "x"));
        let path = path.unwrap();
        cache.record("a", &path);
        cache
            .get(Kind::Blob, "b", |path| fs::write(path, "y"))
            .unwrap();
        (home, cache, path)
    }

    /// Asserts that nothing in the cache is trusted, and that the error contains `words`.
    fn is_refused(cache: &Cache, words: &[&str]) {
        let never = |_: &Path| -> io::Result<()> { panic!("nothing is made there") };
        let error = cache.get(Kind::Image, "a", never).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert_eq!(error.lines().count(), 1);
        assert_eq!(cache.lookup("a"), None);
        assert!(cache.read(Kind::Image, "a", 9).is_err());
    }

    #[test]
    fn what_others_may_write_is_not_believed() {
        let (home, cache, path) = kept();
        assert_eq!(cache.read(Kind::Image, "a", 9).unwrap().unwrap(), b"x");
        let directory = home.path().join("cache");
        let made = [&directory, &directory.join("images"), &path];
        for (number, path) in made.into_iter().enumerate() {
            let before = fs::metadata(path).unwrap().permissions();
            if number < 2 {
                assert_eq!(before.mode() & 0o777, 0o700, "{}", path.display());
            }
            for mode in [0o720, 0o702, 0o1777] {
                fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
                let cure = format!("`chmod go-w {}`", path.display());
                let mode = format!("(mode {mode:o})");
                is_refused(&cache, &[&cure, &mode, "APPTAINER_CACHEDIR"]);
            }
            fs::set_permissions(path, before).unwrap();
            assert_eq!(cache.lookup("a").as_ref(), Some(&made_entry(&cache)));
        }
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        assert!(cache.list().is_ok(), "who may only read does no harm");
        fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
        assert!(cache.list().is_err(), "nothing there is removed");
    }

    fn made_entry(cache: &Cache) -> PathBuf {
        cache.path(Kind::Image, "a")
    }

    #[test]
    fn somebody_elses_is_not_believed() {
        let (home, cache, path) = kept();
        let directory = home.path().join("cache");
        for path in [&directory, &directory.join("images"), &path] {
            // Only root can change the owner; other users test with the mode.
            match chown(path, Some(54321), None) {
                Ok(()) => {
                    let owner = format!("{} belongs to user 54321", path.display());
                    is_refused(&cache, &[&owner, "APPTAINER_CACHEDIR"]);
                    chown(path, Some(rustix::process::geteuid().as_raw()), None).unwrap();
                }
                Err(_) => {
                    let before = fs::metadata(path).unwrap().permissions();
                    fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
                    is_refused(&cache, &["may be written by others"]);
                    fs::set_permissions(path, before).unwrap();
                }
            }
        }
        assert!(cache.lookup("a").is_some());
    }

    #[test]
    fn links_in_it_lead_nowhere() {
        let (home, cache, path) = kept();
        let images = home.path().join("cache/images");
        fs::rename(&path, home.path().join("x")).unwrap();
        symlink(home.path().join("x"), &path).unwrap();
        is_refused(&cache, &["is a link"]);
        fs::rename(&images, home.path().join("elsewhere")).unwrap();
        symlink(home.path().join("elsewhere"), &images).unwrap();
        is_refused(&cache, &["is a link", "images"]);
        assert!(cache.list().is_err(), "nothing elsewhere is removed");
        // The cache as a whole may be behind a link.
        let link = home.path().join("link");
        symlink(home.path().join("cache"), &link).unwrap();
        let never = |_: &Path| -> io::Result<()> { panic!("it is there") };
        Cache::new(link).get(Kind::Blob, "b", never).unwrap();
    }

    #[test]
    fn what_a_mask_would_let_others_write_is_closed() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::new(home.path().to_owned());
        let path = cache.get(Kind::Extracted, "a", |path| {
            fs::create_dir(path)?;
            fs::set_permissions(path, Permissions::from_mode(0o777))
        });
        let mode = fs::metadata(path.unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
