//! Reading a whole file: one that the kernel generates, or one that is not trusted.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Number of bytes that are read at once. Files of `/proc` state no size, and most fit into this.
const ONCE: usize = 16 << 10;

/// Reads a whole file of `/proc`, with as few calls as possible.
///
/// # Errors
///
/// Fails when the file cannot be opened or read.
pub fn read_all(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut content = vec![0; ONCE];
    let mut length = 0;
    loop {
        if length == content.len() {
            content.resize(length * 2, 0);
        }
        match file.read(content.get_mut(length..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(length);
    Ok(content)
}

/// Opens a regular file. Anything else in its place is refused, and never waited for: a FIFO has no
/// end until somebody writes to it, and a device may have none at all.
///
/// # Errors
///
/// Fails when the file cannot be opened, or is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        )),
    }
}

/// Reads a whole content of at most `most` bytes.
///
/// # Errors
///
/// Fails when the content is longer, or cannot be read.
pub fn read_at_most(content: impl Read, most: u64) -> io::Result<Vec<u8>> {
    read_with(Vec::new(), content, most)
}

fn read_with(mut bytes: Vec<u8>, content: impl Read, most: u64) -> io::Result<Vec<u8>> {
    content
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has more than {most} bytes, which is more than is read"),
        ));
    }
    Ok(bytes)
}

/// Reads a whole regular file of at most `most` bytes.
///
/// # Errors
///
/// As for [`open_regular`] and [`read_at_most`].
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let size = file.metadata()?.len().min(most);
    // With room for one byte more, the end of the file is found without growing.
    let room = usize::try_from(size).unwrap_or_default().saturating_add(1);
    read_with(Vec::with_capacity(room), file, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_than_it_may_be_or_no_file_is_refused() {
        assert_eq!(read_at_most(&b"1234"[..], 4).unwrap(), b"1234");
        let error = read_at_most(io::repeat(0), 4).unwrap_err().to_string();
        assert!(error.contains("more than 4 bytes"), "{error}");
        let home = tempfile::tempdir().unwrap();
        let fifo = home.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [fifo.as_path(), Path::new("/dev/zero"), home.path()] {
            let error = read_file(path, 4).unwrap_err().to_string();
            assert_eq!(error, "it is no regular file", "{}", path.display());
        }
    }

    #[test]
    fn all_of_a_file_is_read() {
        let long = "x".repeat(3 * ONCE + 7);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file, long.as_bytes()).unwrap();
        assert_eq!(read_all(file.path()).unwrap(), long.as_bytes());
        let own = read_all(Path::new("/proc/self/status")).unwrap();
        assert!(own.starts_with(b"Name:"));
        assert!(read_all(Path::new("/nowhere")).is_err());
    }
}
