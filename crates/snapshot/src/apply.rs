//! Making the changes of a layer again in a tree.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rootfs::{Directory, changed_at, create_at, directory_at, remove_at};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fsetxattr, fstat, futimens, makedev, mknodat, openat, statat, symlinkat, utimensat,
};
use tar::{Entry, EntryType};

use crate::{ATTRIBUTE, TIME, WHITEOUT};

/// Makes the changes of a layer, as [`Changes::write`](crate::Changes::write) writes it, in a tree like the one
/// that they were made in before.
///
/// # Errors
///
/// Fails when the layer cannot be read, when a name in it leads out of the tree, and when a file
/// cannot be made. The tree is then between the two states.
pub fn apply(layer: impl Read, root: &Directory) -> io::Result<()> {
    let mut tree = Tree {
        root,
        directories: BTreeMap::new(),
    };
    let done = tree.take(layer);
    let closed = tree.close();
    done.and(closed)
}

struct Tree<'a> {
    root: &'a Directory,
    /// The mode and the times that directories get at the end: until then they can be written to.
    directories: BTreeMap<PathBuf, (u32, Timestamps)>,
}

impl Tree<'_> {
    fn take(&mut self, layer: impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(layer);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = absolute(&entry.path_bytes())?;
            self.entry(&mut entry, &path)
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
        let records = records(entry)?;
        let times = records.iter().find(|(key, _)| key == TIME);
        let times = time(times.map(|(_, value)| value.as_slice()).unwrap_or_default());
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode()? & 0o7777);
        let owner = (number(header.uid()?)?, number(header.gid()?)?);
        if path == Path::new("/") {
            self.directory(path)?;
            self.directories.insert(path.to_owned(), (mode, times));
            return own(self.root, OsStr::new("."), owner);
        }
        let above = self.directory(path.parent().unwrap_or(Path::new("/")))?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidData)?;
        if let Some(name) = name.as_bytes().strip_prefix(WHITEOUT.as_bytes()) {
            return self
                .root
                .remove(&path.with_file_name(OsStr::from_bytes(name)));
        }
        match kind {
            EntryType::Directory => {
                let made = directory_at(&above, name);
                // It may be there, closed to its owner.
                made.or_else(|_| self.directory(path))?;
                self.directories.insert(path.to_owned(), (mode, times));
                return own(&above, name, owner);
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                return self.root.hard_link(&absolute(&target)?, &above, name);
            }
            EntryType::Symlink => {
                remove_at(&above, name)?;
                let target = entry.link_name_bytes().unwrap_or_default();
                symlinkat(OsStr::from_bytes(&target), &above, name)?;
            }
            EntryType::Fifo | EntryType::Char | EntryType::Block => {
                remove_at(&above, name)?;
                let device = match kind {
                    EntryType::Fifo => 0,
                    _ => device(header)?,
                };
                let kind = match kind {
                    EntryType::Fifo => FileType::Fifo,
                    EntryType::Char => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                mknodat(&above, name, kind, Mode::from_raw_mode(mode), device)?;
            }
            EntryType::Regular => {
                let mut file = create_at(&above, name, 0o600)?;
                io::copy(entry, &mut file)?;
                for (key, value) in &records {
                    if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                        fsetxattr(&file, name, value, XattrFlags::empty())?;
                    }
                }
                own(&above, name, owner)?;
                file.set_permissions(Permissions::from_mode(mode))?;
                return Ok(futimens(&file, &times)?);
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        own(&above, name, owner)?;
        if kind != EntryType::Symlink {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = openat(&above, name, flags, Mode::empty())?;
            set_mode(&file, mode)?;
        }
        Ok(utimensat(&above, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Opens a directory of the tree, so that its owner can write to it. No link is followed.
    fn directory(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut here = openat(self.root, ".", flags | OFlags::PATH, Mode::empty())?;
        let mut whole = PathBuf::from("/");
        for component in path.components() {
            if let Component::Normal(name) = component {
                whole.push(name);
                here = openat(&here, name, flags | OFlags::PATH, Mode::empty())?;
            }
            if !self.directories.contains_key(&whole) {
                let status = fstat(&here)?;
                let state = (status.st_mode & 0o7777, times_of(&status));
                self.directories.insert(whole.clone(), state);
            }
            let status = fstat(&here)?;
            if status.st_mode & 0o700 != 0o700 {
                set_mode(&here, status.st_mode & 0o7777 | 0o700)?;
            }
        }
        Ok(openat(&here, ".", flags | OFlags::RDONLY, Mode::empty())?)
    }

    /// Gives directories their modes and times, those below first.
    fn close(self) -> io::Result<()> {
        for (path, (mode, times)) in self.directories.iter().rev() {
            let Some(directory) = self.root.below(path)? else {
                continue;
            };
            futimens(&directory, times)?;
            fchmod(&directory, Mode::from_raw_mode(*mode))?;
        }
        Ok(())
    }
}

/// Sets the mode of a file that is open without access to its content, which only the path in `/proc`
/// allows before Linux 6.6.
fn set_mode(file: &OwnedFd, mode: u32) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Gives a file its owner, if it has another.
fn own(above: impl std::os::fd::AsFd, name: &OsStr, owner: (u32, u32)) -> io::Result<()> {
    let status = statat(&above, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (status.st_uid, status.st_gid) == owner {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(chownat(&above, name, Some(user), Some(group), flags)?)
}

fn times_of(status: &Stat) -> Timestamps {
    changed_at(
        status.st_mtime,
        status.st_mtime_nsec.try_into().unwrap_or(0),
    )
}

/// Reads the time of a PAX record: seconds since 1970, with a fraction of nine digits.
fn time(text: &[u8]) -> Timestamps {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let (seconds, rest) = text.split_once('.').unwrap_or((text, ""));
    changed_at(seconds.parse().unwrap_or(0), rest.parse().unwrap_or(0))
}

fn records<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let key = record.key().map_err(io::Error::other)?;
        found.push((key.to_owned(), record.value_bytes().to_owned()));
    }
    Ok(found)
}

fn device(header: &tar::Header) -> io::Result<u64> {
    let numbers = (header.device_major()?, header.device_minor()?);
    let numbers = numbers.0.zip(numbers.1);
    let (major, minor) = numbers.ok_or(io::ErrorKind::InvalidData)?;
    Ok(makedev(major, minor))
}

fn number(id: u64) -> io::Result<u32> {
    u32::try_from(id).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Returns the path of a name in a layer.
fn absolute(name: &[u8]) -> io::Result<PathBuf> {
    let name = PathBuf::from(OsString::from_vec(name.to_owned()));
    let mut path = PathBuf::from("/");
    for component in name.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir => {}
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(path)
}
