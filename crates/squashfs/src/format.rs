//! Types of the format that several tables share: references to inodes, and their kinds.

use std::fmt;

/// The position of an inode: the start of its metadata block within the inode table, and its offset
/// in that block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeRef(u64);

impl InodeRef {
    /// Converts a reference from its stored form: 32 bits of block, 16 bits of offset.
    #[must_use]
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the reference in its stored form. It is below 2^48 for every inode that could be
    /// read.
    #[must_use]
    pub fn raw(self) -> u64 {
        self.0
    }

    pub(crate) fn new(block: u32, offset: u16) -> Self {
        Self(u64::from(block) << 16 | u64::from(offset))
    }

    pub(crate) fn block(self) -> u64 {
        self.0 >> 16
    }

    pub(crate) fn offset(self) -> usize {
        usize::from((self.0 & 0xffff) as u16)
    }
}

impl fmt::Display for InodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The kind of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Directory.
    Directory,
    /// Regular file.
    File,
    /// Symbolic link.
    Symlink,
    /// Block device.
    BlockDevice,
    /// Character device.
    CharDevice,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

impl Kind {
    /// Returns the kind for a type number of directories and inodes. The extended types (8 to 14)
    /// mean the same as the basic ones.
    pub(crate) fn from_type(number: u16) -> Option<Self> {
        match number {
            1 | 8 => Some(Self::Directory),
            2 | 9 => Some(Self::File),
            3 | 10 => Some(Self::Symlink),
            4 | 11 => Some(Self::BlockDevice),
            5 | 12 => Some(Self::CharDevice),
            6 | 13 => Some(Self::Fifo),
            7 | 14 => Some(Self::Socket),
            _ => None,
        }
    }
}
