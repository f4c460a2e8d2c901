//! Reading files that a person has named, which may be anything.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fcntl_setfl, fstat, open};

/// Largest file that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// Reads a file, or a pipe that a shell has made (`<(command)`). Nothing else is waited for.
///
/// # Errors
///
/// Fails when it cannot be read, is of another kind, or is larger than 4 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => {}
        // A FIFO in a directory may have no writer, one of /dev/fd has.
        FileType::Fifo if path.starts_with("/dev/fd") || path.starts_with("/proc") => {
            fcntl_setfl(&file, OFlags::empty())?;
        }
        FileType::Directory => return Err(io::Error::other("is a directory")),
        _ => return Err(io::Error::other("is not a file")),
    }
    let mut bytes = Vec::new();
    File::from(file).take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other("is larger than 4 MiB"));
    }
    Ok(bytes)
}

/// Reads a file as [`read`] does, as text.
///
/// # Errors
///
/// As [`read`]; also fails when it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::other("is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_certain_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read_text(&path).unwrap(), "text");
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path).is_err());
        std::fs::write(&path, vec![b'x'; (4 << 20) + 1]).unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for other in [path.as_path(), &fifo, dir.path(), Path::new("/dev/zero")] {
            assert!(read(other).is_err(), "{}", other.display());
        }
    }
}
