//! Unpacking the tar of a tree into a directory.

use std::fs::{self, Permissions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use rustix::fs::{AtFlags, CWD, FileType, Mode, mknodat, utimensat};
use tar::EntryType;

use crate::Error;

/// Size of the buffers, in bytes.
const BUFFER: usize = 1 << 20;

/// Unpacks the tar that `write` writes into an empty directory. No name in the tar may lead
/// outside, and no directory may be a link. The caller becomes the owner; set-id bits are dropped.
pub(crate) fn unpack(
    into: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    let (reader, writer) = io::pipe().map_err(Error::file(into))?;
    thread::scope(|scope| {
        let unpacked =
            scope.spawn(move || unpack_all(into, BufReader::with_capacity(BUFFER, reader)));
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

/// The mode bits that are kept. Set-id bits are dropped, because the owner is another.
const MODE: u32 = 0o1777;

/// Unpacks each entry. The mode and time of a directory are set last: it may be read-only, and each
/// new entry changes its time.
fn unpack_all(into: &Path, content: impl Read) -> io::Result<()> {
    let mut archive = tar::Archive::new(content);
    archive.set_unpack_xattrs(true);
    archive.set_preserve_permissions(true);
    archive.set_mask(!MODE);
    archive.set_preserve_mtime(false);
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = into.join(entry.path()?);
        let (mode, time) = (entry.header().mode()? & MODE, entry.header().mtime()?);
        match entry.header().entry_type() {
            EntryType::Directory => {
                fs::create_dir_all(&path)?;
                directories.push((path, mode, time));
            }
            EntryType::Fifo => {
                mknodat(CWD, &path, FileType::Fifo, Mode::empty(), 0)?;
                fs::set_permissions(&path, Permissions::from_mode(mode))?;
                set_time(&path, time)?;
            }
            kind => {
                entry.unpack_in(into).map_err(crate::root_cause)?;
                // A hard link has the time of its file.
                if kind != EntryType::Link {
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

/// Sets a file's time, in seconds since 1970. A link itself is changed, not its target.
pub(crate) fn set_time(path: &Path, time: u64) -> io::Result<()> {
    let times = rootfs::changed_at(i64::try_from(time).unwrap_or(0), 0);
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
