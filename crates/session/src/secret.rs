//! The secret, by which a caller shows that it is not in a container.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::protocol::{self, Token};

/// The descriptor from which a secret can usually be read: a number that launchers and shells leave
/// alone.
pub(crate) const DESCRIPTOR: i32 = 200;

/// A word that a caller must know. It is the name of a file without a path that this process has
/// open. Only a process that may look into this one can read that name ([proc_pid_fd(5)]), and no
/// process in a container may.
///
/// [proc_pid_fd(5)]: https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html
#[derive(Debug)]
pub(crate) struct Secret {
    file: OwnedFd,
    /// The word, which nobody can foresee.
    pub(crate) word: Token,
}

impl Secret {
    pub(crate) fn new() -> io::Result<Self> {
        let word = protocol::token()?;
        let name = CString::new(format!("front-{word}"))?;
        let file = memfd_create(name.as_c_str(), MemfdFlags::CLOEXEC)?;
        // If this process may not have so many files open, the file keeps its descriptor.
        let moved = rustix::io::fcntl_dupfd_cloexec(&file, DESCRIPTOR);
        let file = moved.unwrap_or(file);
        Ok(Self { file, word })
    }

    /// Returns the number of the descriptor from which the secret can be read.
    pub(crate) fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Reads the secret of a process, by the number of its descriptor.
    ///
    /// # Errors
    ///
    /// Fails when this process may not look into that one, or when that one has no secret there.
    pub(crate) fn read(pid: i32, descriptor: i32) -> io::Result<Token> {
        let name = fs::read_link(format!("/proc/{pid}/fd/{descriptor}"))?;
        let word = name.to_str().and_then(|name| {
            let word = name.strip_prefix("/memfd:front-")?;
            word.strip_suffix(" (deleted)")?.parse().ok()
        });
        word.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_secret_is_read_by_its_descriptor() {
        let own = std::process::id().cast_signed();
        let secret = Secret::new().unwrap();
        assert_eq!(Secret::read(own, secret.descriptor()).unwrap(), secret.word);
        let other = File::open("/dev/null").unwrap();
        assert!(Secret::read(own, other.as_raw_fd()).is_err());
        assert!(Secret::read(own, i32::MAX).is_err());
    }
}
