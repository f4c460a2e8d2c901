//! How a caller shows that it is in no container.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::handover::{self, Token};

/// A word that a caller must know. Only a process that may look into this one can read it: none that is in a container.
#[derive(Debug)]
pub(crate) struct Secret {
    /// Has the word.
    file: File,
    /// Nobody can foresee it.
    pub(crate) word: Token,
}

impl Secret {
    pub(crate) fn new() -> io::Result<Self> {
        let word = handover::token();
        let mut file = File::from(memfd_create("front", MemfdFlags::CLOEXEC)?);
        file.write_all(&word.to_ne_bytes())?;
        Ok(Self { file, word })
    }

    /// By which of this process's descriptors it can be read.
    pub(crate) fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Reads it, through a descriptor of one's own.
    pub(crate) fn read(file: &OwnedFd) -> io::Result<Token> {
        let mut word = Token::default().to_ne_bytes();
        match rustix::io::pread(file, &mut word[..], 0)? == word.len() {
            true => Ok(Token::from_ne_bytes(word)),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
