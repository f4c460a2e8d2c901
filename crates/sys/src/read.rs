//! Reading files that the kernel makes up.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How much is read at once, in bytes: files of `/proc` tell no size, and most come whole in this.
const ONCE: usize = 16 << 10;

/// Reads all of a file of `/proc`, with as few calls as can be.
///
/// # Errors
///
/// Fails when it cannot be opened or read.
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

#[cfg(test)]
mod tests {
    use super::*;

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
