//! Putting what is made where the user wants it: whole, or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::BuildError;

/// Makes a file. `make` is given a path to write to; `replace`: what is there gives way.
///
/// Where the file system can do it, the file has no name until it is whole, and nothing is left when
/// this process is killed.
///
/// # Errors
///
/// Fails as `make` does, when something is there that shall not give way, and when the directory cannot
/// be written.
pub fn whole_file<T>(
    path: &Path,
    replace: bool,
    make: impl FnOnce(&Path) -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let directory = parent(path);
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o666);
    let Ok(file) = rustix::fs::open(directory, flags, mode).map(File::from) else {
        let part = beside(path);
        let made = make(&part).and_then(|made| {
            place(&part, path, replace).map_err(BuildError::file(path))?;
            Ok(made)
        });
        if made.is_err() {
            let _ = fs::remove_file(&part);
        }
        return made;
    };
    let own = PathBuf::from(format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        file.as_raw_fd()
    ));
    let made = make(&own)?;
    let link = |to: &Path| {
        let flags = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(CWD, &own, CWD, to, flags).map_err(io::Error::from)
    };
    match link(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && replace => {
            let part = beside(path);
            link(&part).and_then(|()| place(&part, path, true))
        }
        linked => linked,
    }
    .map_err(BuildError::file(path))?;
    Ok(made)
}

/// Makes a directory. `make` is given an empty one to fill; `replace`: what is there gives way.
///
/// # Errors
///
/// As for [`whole_file`].
pub fn whole_directory<T>(
    path: &Path,
    replace: bool,
    make: impl FnOnce(&Path) -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let part = beside(path);
    remove_abandoned(path);
    fs::create_dir(&part).map_err(BuildError::file(&part))?;
    let made = make(&part).and_then(|made| {
        let placed = if replace && path.symlink_metadata().is_ok() {
            exchange(&part, path)
        } else {
            fs::rename(&part, path)
        };
        placed.map_err(BuildError::file(path))?;
        Ok(made)
    });
    if part.symlink_metadata().is_ok() {
        let _ = crate::cache::remove(&part);
    }
    made
}

/// What is there takes the other's place, to be removed from it.
fn exchange(part: &Path, path: &Path) -> io::Result<()> {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    match rustix::fs::renameat_with(CWD, part, CWD, path, flags) {
        Ok(()) => Ok(()),
        // Not every file system can exchange two names.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            crate::cache::remove(path)?;
            fs::rename(part, path)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn place(part: &Path, path: &Path, replace: bool) -> io::Result<()> {
    if replace {
        return fs::rename(part, path);
    }
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(CWD, part, CWD, path, flags) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(part, path),
        renamed => renamed.map_err(io::Error::from),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn prefix(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".front-");
    name
}

/// A name in the same directory, this process's own.
fn beside(path: &Path) -> PathBuf {
    let mut name = prefix(path);
    name.push(std::process::id().to_string());
    parent(path).join(name)
}

/// Removes what a process that was killed left while it made the same.
fn remove_abandoned(path: &Path) {
    let prefix = prefix(path);
    let prefix = prefix.as_encoded_bytes();
    for entry in fs::read_dir(parent(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.as_encoded_bytes().strip_prefix(prefix);
        let Some(number) = number.and_then(|number| std::str::from_utf8(number).ok()) else {
            continue;
        };
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && !Path::new("/proc").join(number).exists() {
            let _ = crate::cache::remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("image.sif");
        let write =
            |text: &'static str| move |at: &Path| fs::write(at, text).map_err(BuildError::Cache);
        whole_file(&path, false, write("one")).unwrap();
        let error = whole_file(&path, false, write("two")).unwrap_err();
        assert!(error.to_string().contains("image.sif"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        whole_file(&path, true, write("three")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        let failed = whole_file(&path, true, |at| {
            fs::write(at, "half")?;
            Err::<(), _>(BuildError::Squash("no".to_owned()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_takes_the_place_of_another() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("box");
        let fill = |text: &'static str| {
            move |at: &Path| fs::write(at.join("x"), text).map_err(BuildError::Cache)
        };
        whole_directory(&path, false, fill("one")).unwrap();
        assert!(whole_directory(&path, false, fill("two")).is_err());
        fs::create_dir(home.path().join(".box.front-999999999")).unwrap();
        whole_directory(&path, true, fill("three")).unwrap();
        assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "three");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
