//! Files at paths that others may have prepared.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// How many names are tried for a new file.
const ATTEMPTS: u32 = 100;

/// Writes a file so that a reader sees the old one or the new one, never half of it. A link at `path` is replaced, not
/// followed; so is whatever stands in the way of the new file. `mode` is subject to the umask.
///
/// # Errors
///
/// Fails when the directory or the disk refuses; then the old file is as it was.
pub fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // A device, a pipe or a terminal is written to as it is: nothing can take its place.
    if fs::metadata(path).is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_char_device() || kind.is_fifo()
    }) && !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
    {
        return File::options().write(true).open(path)?.write_all(content);
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    for attempt in 0..ATTEMPTS {
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}.{attempt}", std::process::id()));
        let part = path.with_file_name(part);
        let created = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&part);
        let mut file = match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            created => created?,
        };
        let written = file
            .write_all(content)
            .and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        return written;
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Reads a regular file of an image that nobody vouches for: at most `limit` bytes, and nothing that waits or acts
/// when it is opened, as a pipe or a device does.
///
/// # Errors
///
/// Fails when there is no regular file, and when it cannot be read.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut content = Vec::new();
    file.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_planted_link_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        let path = directory.path().join("pid");
        fs::write(&victim, "kept").unwrap();
        symlink(&victim, &path).unwrap();
        // As a predictable name for the new file would be planted.
        let own = std::process::id();
        symlink(&victim, directory.path().join(format!(".pid.{own}.0"))).unwrap();
        replace_file(&path, b"7", 0o644).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
        assert_eq!(fs::read(&path).unwrap(), b"7");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
        replace_file(Path::new("/dev/null"), b"7", 0o644).unwrap();
        assert!(replace_file(&directory.path().join("no/pid"), b"7", 0o644).is_err());
    }

    #[test]
    fn only_so_much_of_a_regular_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(read_regular(&path, 4).unwrap(), b"0123");
        assert!(read_regular(Path::new("/dev/zero"), 4).is_err());
        assert!(read_regular(directory.path(), 4).is_err());
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read_regular(&pipe, 4).is_err());
    }
}
