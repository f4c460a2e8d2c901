//! Unpacking the tar of a tree into a directory.

use std::fs::{self, Permissions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, chownat, mknodat, utimensat};
use rustix::io::Errno;
use tar::EntryType;

use crate::Error;

/// Size of the buffers, in bytes.
const BUFFER: usize = 1 << 20;

/// Unpacks the tar that `write` writes into an empty directory. No name in the tar may lead
/// outside, and no directory may be a link. Unless `keeps_owners` is set, the caller becomes the owner,
/// and set-id bits are dropped.
pub(crate) fn unpack(
    into: &Path,
    keeps_owners: bool,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    let (reader, writer) = io::pipe().map_err(Error::file(into))?;
    thread::scope(|scope| {
        let unpacked = scope.spawn(move || {
            let reader = BufReader::with_capacity(BUFFER, reader);
            unpack_all(into, keeps_owners, reader)
        });
        let mut writer = BufWriter::with_capacity(BUFFER, writer);
        let written = write(&mut writer).and_then(|()| writer.flush().map_err(Error::written));
        drop(writer);
        let unpacked = match unpacked.join() {
            Ok(unpacked) => unpacked.map_err(Error::file(into)),
            Err(_) => Err(Error::Squash("a thread failed".to_owned())),
        };
        // The cause matters, not the broken pipe.
        match (written, unpacked) {
            (Err(Error::Oci(oci::Error::Write(_))), Err(error)) => Err(error),
            (Err(error), _) | (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(())) => Ok(()),
        }
    })
}

/// The mode bits that are kept if the owner is another.
const MODE: u32 = 0o1777;

/// Unpacks each entry. The mode and time of a directory are set last: it may be read-only, and each
/// new entry changes its time.
fn unpack_all(into: &Path, keeps_owners: bool, content: impl Read) -> io::Result<()> {
    let bits = if keeps_owners { 0o7777 } else { MODE };
    let mut archive = tar::Archive::new(content);
    archive.set_unpack_xattrs(true);
    archive.set_preserve_permissions(true);
    archive.set_mask(!bits);
    archive.set_preserve_mtime(false);
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = into.join(entry.path()?);
        let (mode, time) = (entry.header().mode()? & bits, entry.header().mtime()?);
        let owner = (entry.header().uid()?, entry.header().gid()?);
        let own = |path: &Path| match keeps_owners {
            true => give(path, owner, mode),
            false => Ok(()),
        };
        match entry.header().entry_type() {
            EntryType::Directory => {
                fs::create_dir_all(&path)?;
                own(&path)?;
                directories.push((path, mode, time));
            }
            EntryType::Fifo => {
                mknodat(CWD, &path, FileType::Fifo, Mode::empty(), 0)?;
                fs::set_permissions(&path, Permissions::from_mode(mode))?;
                own(&path)?;
                set_time(&path, time)?;
            }
            kind => {
                entry.unpack_in(into).map_err(crate::root_cause)?;
                // A hard link has the time of its file.
                if kind != EntryType::Link {
                    own(&path)?;
                    set_time(&path, time)?;
                }
            }
        }
    }
    for (path, mode, time) in directories.into_iter().rev() {
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        set_time(&path, time)?;
    }
    Ok(())
}

/// Gives a new file to its owner. Its set-id bits, which the kernel takes then, come back. A user who
/// is not in the caller's user namespace cannot have files.
fn give(path: &Path, (user, group): (u64, u64), mode: u32) -> io::Result<()> {
    let [Ok(user), Ok(group)] = [user, group].map(u32::try_from) else {
        return Ok(());
    };
    if (user, group) == (0, 0) {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    match chownat(
        CWD,
        path,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    ) {
        Err(Errno::INVAL) => return Ok(()),
        given => given?,
    }
    match mode & 0o6000 {
        0 => Ok(()),
        _ => fs::set_permissions(path, Permissions::from_mode(mode)),
    }
}

/// Sets a file's time, in seconds since 1970. A link itself is changed, not its target.
pub(crate) fn set_time(path: &Path, time: u64) -> io::Result<()> {
    let times = rootfs::changed_at(i64::try_from(time).unwrap_or(0), 0);
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
