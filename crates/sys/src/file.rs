//! Files at paths that other users may have prepared.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Number of names that are tried for a new file.
const ATTEMPTS: u32 = 100;

/// Writes a file so that a reader sees the old or the new one, never half of it. A link at `path`
/// is replaced, not followed. The new file is written under a temporary name; if that name is
/// taken, another is tried. `mode` is subject to the umask.
///
/// # Errors
///
/// Fails when the directory or the disk refuses. The old file is then unchanged.
pub fn replace_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // A device or a terminal is written to directly: a file cannot replace it. A FIFO is replaced,
    // because nobody may read from it.
    if let Some(mut device) = open_device(path)? {
        return device.write_all(content);
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

/// Opens the character device at `path`, if there is one. Somebody else may exchange it for a link
/// or another file at any moment.
fn open_device(path: &Path) -> io::Result<Option<File>> {
    let is_device = |metadata: fs::Metadata| metadata.file_type().is_char_device();
    if !fs::symlink_metadata(path).is_ok_and(is_device) {
        return Ok(None);
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().write(true).custom_flags(flags).open(path)?;
    Ok(is_device(file.metadata()?).then_some(file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A file that is none (0, 0 as by overlays), which anybody can make, and a link take turns.
    #[test]
    fn a_link_that_comes_after_the_look_is_not_followed() {
        use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("victim"), "kept").unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = renameat_with(CWD, at("pid"), CWD, at("link"), RenameFlags::EXCHANGE);
                }
            });
            for _ in 0..2000 {
                for name in ["pid", "link"] {
                    let _ = fs::remove_file(at(name));
                }
                let device = FileType::CharacterDevice;
                let _ = mknodat(CWD, at("pid"), device, Mode::RUSR, 0);
                let _ = symlink(at("victim"), at("link"));
                let _ = replace_file(&at("pid"), b"7", 0o644);
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(fs::read(at("victim")).unwrap(), b"kept");
    }

    #[test]
    fn a_planted_link_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        let path = directory.path().join("pid");
        fs::write(&victim, "kept").unwrap();
        symlink(&victim, &path).unwrap();
        // An attacker could plant a link at a predictable name of the new file.
        let own = std::process::id();
        symlink(&victim, directory.path().join(format!(".pid.{own}.0"))).unwrap();
        replace_file(&path, b"7", 0o644).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
        assert_eq!(fs::read(&path).unwrap(), b"7");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
        replace_file(Path::new("/dev/null"), b"7", 0o644).unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        replace_file(&fifo, b"7", 0o644).unwrap();
        assert_eq!(fs::read(&fifo).unwrap(), b"7");
        assert!(replace_file(&directory.path().join("no/pid"), b"7", 0o644).is_err());
    }
}
