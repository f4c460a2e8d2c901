//! Writing output files and directories: either as a whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::Error;

/// Makes a file. `make` gets a path to write to. With `replace`, an existing file is replaced. No
/// link at the path is followed.
///
/// Where the file system supports it, the file has no name until it is complete, so nothing is left
/// when this process is killed.
///
/// # Errors
///
/// Fails as `make` does, when there is a file that must not be replaced, or when the directory
/// cannot be written.
pub fn whole_file<T, E: OutputError>(
    path: &Path,
    replace: bool,
    make: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let part = Part::unnamed(path).or_else(|first| {
        // The temporary name in the error would mean nothing to the user.
        Part::named(path).map_err(|error| match first.kind() {
            io::ErrorKind::Unsupported => error.kind().into(),
            _ => first,
        })
    });
    let part = part.map_err(Error::file(path))?;
    let made = make(&part.own()).map_err(|error| error.named(path))?;
    part.place(path, replace).map_err(Error::file(path))?;
    Ok(made)
}

/// The errors of making a file. They may contain the temporary path of the file.
pub trait OutputError: From<Error> {
    /// Replaces the temporary path of the file by `path`.
    #[must_use]
    fn named(self, path: &Path) -> Self;
}

impl OutputError for Error {
    fn named(self, path: &Path) -> Self {
        match self {
            Self::Squash(reason) => {
                let source = io::Error::other(format!("make the squashfs: {reason}"));
                Self::file(path)(source)
            }
            Self::File { path: at, source } if is_of_the_moment(&at, path) => {
                Self::file(path)(source)
            }
            error => error,
        }
    }
}

fn is_of_the_moment(at: &Path, path: &Path) -> bool {
    let name = at.file_name().unwrap_or_default().as_encoded_bytes();
    let is_beside = name.starts_with(prefix(path).as_encoded_bytes());
    at.starts_with("/proc") || is_beside && parent(at) == parent(path)
}

/// Makes a file with this content. `mode` is the file's mode.
///
/// # Errors
///
/// As for [`whole_file`].
pub fn whole_content(path: &Path, replace: bool, mode: u32, content: &[u8]) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    whole_file(path, replace, |at| {
        let write = || {
            // The mode is set before the content, which may be secret, is written.
            fs::set_permissions(at, fs::Permissions::from_mode(mode))?;
            fs::write(at, content)
        };
        write().map_err(Error::file(path))
    })
}

/// A file that is being made. It has no name, or a name that nobody can predict.
struct Part {
    file: File,
    name: Option<tempfile::TempPath>,
}

impl Part {
    fn unnamed(path: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(parent(path), flags, Mode::from_raw_mode(0o666))?;
        Ok(Self {
            file: File::from(file),
            name: None,
        })
    }

    fn named(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let named = tempfile::Builder::new()
            .prefix(&prefix(path))
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(parent(path))?;
        let (file, name) = named.into_parts();
        Ok(Self {
            file,
            name: Some(name),
        })
    }

    /// Returns the path by which this process and its children open the file.
    fn own(&self) -> PathBuf {
        let (process, fd) = (std::process::id(), self.file.as_raw_fd());
        PathBuf::from(format!("/proc/{process}/fd/{fd}"))
    }

    fn link(&self, to: &Path) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_FOLLOW;
        Ok(rustix::fs::linkat(CWD, self.own(), CWD, to, flags)?)
    }

    /// Gives the file its name.
    fn place(mut self, path: &Path, replace: bool) -> io::Result<()> {
        let name = match self.name.take() {
            Some(name) => name,
            None => match self.link(path) {
                // Only a rename can replace a file, so the file needs a name first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && replace => {
                    let named = tempfile::Builder::new()
                        .prefix(&prefix(path))
                        .make_in(parent(path), |to| self.link(to))?;
                    named.into_temp_path()
                }
                linked => return linked,
            },
        };
        place(&name, path, replace)?;
        // The temporary name no longer exists. A file that has this name now belongs to another
        // process.
        name.keep().map(drop).map_err(|error| error.error)
    }
}

/// Makes the directory of an image. `make` gets an empty directory to fill. With `replace`, an
/// existing image is replaced.
///
/// # Errors
///
/// As for [`whole_file`], and when the existing directory is not an image.
pub fn whole_directory<T, E: OutputError>(
    path: &Path,
    replace: bool,
    make: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let part = beside(path);
    if replace && path.is_dir() && !may_give_way(path) {
        return Err(Error::NoSandbox(path.to_owned()).into());
    }
    remove_abandoned(path);
    fs::create_dir(&part).map_err(Error::file(path))?;
    let made = make(&part)
        .map_err(|error| error.named(path))
        .and_then(|made| {
            let placed = if replace && path.symlink_metadata().is_ok() {
                exchange(&part, path)
            } else {
                fs::rename(&part, path)
            };
            placed.map_err(Error::file(path))?;
            Ok(made)
        });
    if part.symlink_metadata().is_ok() {
        let _ = rootfs::remove(&part);
    }
    made
}

/// Whether a directory is a sandbox, or empty. The user's own files must not be lost because of a
/// wrong path.
fn may_give_way(path: &Path) -> bool {
    let has = |name: &str| path.join(name).symlink_metadata().is_ok();
    let is_empty = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    has(".singularity.d") || has("etc") && (has("bin") || has("usr")) || is_empty()
}

/// Exchanges the new directory and the existing one, which is then removed.
fn exchange(part: &Path, path: &Path) -> io::Result<()> {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    match rustix::fs::renameat_with(CWD, part, CWD, path, flags) {
        Ok(()) => Ok(()),
        // Some file systems cannot exchange two names.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            rootfs::remove(path)?;
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

/// Returns a name in the same directory that belongs to this process.
fn beside(path: &Path) -> PathBuf {
    let mut name = prefix(path);
    name.push(std::process::id().to_string());
    parent(path).join(name)
}

/// Removes the unfinished output of killed processes.
pub fn remove_abandoned(path: &Path) {
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
            let _ = rootfs::remove(&entry.path());
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
            |text: &'static str| move |at: &Path| fs::write(at, text).map_err(Error::file(at));
        whole_file(&path, false, write("one")).unwrap();
        let error = whole_file(&path, false, write("two")).unwrap_err();
        assert!(error.to_string().contains("image.sif"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        whole_file(&path, true, write("three")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        let failed = whole_file(&path, true, |at| {
            fs::write(at, "half").map_err(Error::file(at))?;
            Err::<(), _>(Error::Squash("no".to_owned()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_takes_the_place_of_another() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("box");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("thesis"), "").unwrap();
        let refused = whole_directory(&path, true, |_| Ok::<_, Error>(())).unwrap_err();
        assert!(refused.to_string().contains("no image"), "{refused}");
        assert!(path.join("thesis").exists());
        fs::remove_dir_all(&path).unwrap();
        let fill = |text: &'static str| {
            move |at: &Path| {
                let made = fs::create_dir(at.join(".singularity.d"));
                let made = made.and_then(|()| fs::write(at.join("x"), text));
                made.map_err(Error::file(at))
            }
        };
        whole_directory(&path, false, fill("one")).unwrap();
        assert!(whole_directory(&path, false, fill("two")).is_err());
        fs::create_dir(home.path().join(".box.front-999999999")).unwrap();
        whole_directory(&path, true, fill("three")).unwrap();
        assert_eq!(fs::read_to_string(path.join("x")).unwrap(), "three");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_planted_link_is_followed() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("image.sif");
        let victim = home.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, beside(&path)).unwrap();
        for named in [true, false] {
            let make = |text: &str, replace: bool| {
                let part = match named {
                    true => Part::named(&path),
                    false => Part::unnamed(&path),
                };
                let part = part.unwrap();
                fs::write(part.own(), text).unwrap();
                part.place(&path, replace)
            };
            symlink(&victim, &path).unwrap();
            assert!(make("one", false).is_err());
            make("two", true).unwrap();
            assert!(path.symlink_metadata().unwrap().is_file());
            assert_eq!(fs::read_to_string(&path).unwrap(), "two");
            fs::remove_file(&path).unwrap();
            make("three", false).unwrap();
            assert_eq!(path.symlink_metadata().unwrap().nlink(), 1);
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_secret_is_its_owners_alone() {
        use std::os::unix::fs::MetadataExt;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        whole_content(&path, false, 0o600, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let error = whole_content(&home.path().join("no/key"), false, 0o600, b"secret");
        let error = text::one_line(&error.unwrap_err());
        assert!(error.contains("no/key: no such file"), "{error}");
    }
}
