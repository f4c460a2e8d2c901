//! Inodes: the fifteen kinds of record in the inode table, read into one.

use std::fmt;

use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::metadata::{Cursor, Position};

/// Marks an absent fragment or an absent set of extended attributes.
const NONE: u32 = u32::MAX;

/// The longest target of a symbolic link: the kernel takes one page.
const LONGEST_TARGET: u32 = 4096;

/// The most blocks of one file. Finding block n means adding up the sizes of those before it; this
/// keeps it below a second for an image that claims petabytes (8 TiB are left at 128 KiB blocks).
const MOST_BLOCKS: u64 = 1 << 26;

/// Where an inode is: its metadata block's start within the inode table, and its offset there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeRef(u64);

impl InodeRef {
    /// Takes a reference as stored: 32 bits of block, 16 bits of offset.
    #[must_use]
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the reference as stored; below 2^48 for every inode that could be read.
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

/// What an inode is.
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
    /// Returns the kind of a type number as directories and inodes have it; the extended types
    /// (8 to 14) mean the same as the basic ones.
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

/// One file of any kind: its attributes, and where its contents are.
#[derive(Debug, Clone)]
pub struct Inode {
    /// Where it is; the same for all names of a hard-linked file.
    pub reference: InodeRef,
    /// Its number, from 1 to the inode count.
    pub number: u32,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with set-id and sticky bits (`mode & 0o7777`).
    pub permissions: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last change of the contents, in seconds since 1970.
    pub modified: u32,
    /// Number of names.
    pub links: u32,
    /// Size in bytes: of a file's contents, of a symbolic link's target; of a directory, a measure
    /// of its listing.
    pub size: u64,
    /// Bytes of a file that lie in holes, at block granularity.
    pub sparse: u64,
    /// Device number of a device node, as Linux encodes it in 32 bits.
    pub device: u32,
    pub(crate) xattr: Option<u32>,
    pub(crate) body: Body,
}

/// Where the contents are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    Directory {
        block: u32,
        offset: u16,
        listing: u32,
        index_count: u16,
        index: Position,
    },
    File {
        start: u64,
        fragment: Option<Fragment>,
        blocks: Position,
    },
    Symlink {
        target: Position,
    },
    Other,
}

/// The end of a file, stored in a block shared with others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment {
    pub(crate) index: u32,
    pub(crate) offset: u32,
}

impl Filesystem {
    /// Reads an inode.
    ///
    /// # Errors
    ///
    /// A reference that leads out of the inode table, or a record that makes no sense.
    pub fn inode(&self, reference: InodeRef) -> Result<Inode, Error> {
        let mut cursor = self.inode_cursor(reference);
        Record {
            fs: self,
            reference,
            cursor: &mut cursor,
        }
        .read()
    }
}

/// An inode's record while it is being read.
struct Record<'a, 'b> {
    fs: &'a Filesystem,
    reference: InodeRef,
    cursor: &'b mut Cursor<'a>,
}

impl Record<'_, '_> {
    fn read(mut self) -> Result<Inode, Error> {
        let number = self.cursor.u16()?;
        let kind = Kind::from_type(number).ok_or_else(|| self.fail("unknown type"))?;
        let permissions = self.cursor.u16()? & 0o7777;
        let uid = self.cursor.u16()?;
        let gid = self.cursor.u16()?;
        let mut inode = Inode {
            reference: self.reference,
            kind,
            permissions,
            uid: self
                .fs
                .id(uid)
                .ok_or_else(|| self.fail("its owner is not in the id table"))?,
            gid: self
                .fs
                .id(gid)
                .ok_or_else(|| self.fail("its group is not in the id table"))?,
            modified: self.cursor.u32()?,
            number: self.cursor.u32()?,
            links: 1,
            size: 0,
            sparse: 0,
            device: 0,
            xattr: None,
            body: Body::Other,
        };
        match number {
            1 => self.directory(&mut inode)?,
            8 => self.extended_directory(&mut inode)?,
            2 => self.file(&mut inode)?,
            9 => self.extended_file(&mut inode)?,
            3 | 10 => self.symlink(&mut inode, number == 10)?,
            _ => self.special(&mut inode, number >= 8)?,
        }
        Ok(inode)
    }

    fn directory(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let block = self.cursor.u32()?;
        inode.links = self.cursor.u32()?;
        let size = u32::from(self.cursor.u16()?);
        let offset = self.cursor.u16()?;
        let index = self.cursor.position();
        inode.size = size.into();
        inode.body = Body::Directory {
            block,
            offset,
            listing: listing(size),
            index_count: 0,
            index,
        };
        Ok(())
    }

    fn extended_directory(&mut self, inode: &mut Inode) -> Result<(), Error> {
        inode.links = self.cursor.u32()?;
        let size = self.cursor.u32()?;
        let block = self.cursor.u32()?;
        let _parent = self.cursor.u32()?;
        let index_count = self.cursor.u16()?;
        let offset = self.cursor.u16()?;
        inode.xattr = self.xattr()?;
        let index = self.cursor.position();
        inode.size = size.into();
        inode.body = Body::Directory {
            block,
            offset,
            listing: listing(size),
            index_count,
            index,
        };
        Ok(())
    }

    fn file(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let start = self.cursor.u32()?.into();
        let fragment = self.fragment()?;
        inode.size = self.cursor.u32()?.into();
        self.contents(inode, start, fragment)
    }

    fn extended_file(&mut self, inode: &mut Inode) -> Result<(), Error> {
        let start = self.cursor.u64()?;
        inode.size = self.cursor.u64()?;
        inode.sparse = self.cursor.u64()?;
        inode.links = self.cursor.u32()?;
        let fragment = self.fragment()?;
        inode.xattr = self.xattr()?;
        self.contents(inode, start, fragment)
    }

    fn contents(
        &mut self,
        inode: &mut Inode,
        start: u64,
        fragment: Option<Fragment>,
    ) -> Result<(), Error> {
        if inode.size.div_ceil(self.fs.block_size()) > MOST_BLOCKS {
            return Err(self.fail("its size is beyond 2^26 blocks"));
        }
        inode.body = Body::File {
            start,
            fragment,
            blocks: self.cursor.position(),
        };
        Ok(())
    }

    fn fragment(&mut self) -> Result<Option<Fragment>, Error> {
        let index = self.cursor.u32()?;
        let offset = self.cursor.u32()?;
        Ok((index != NONE).then_some(Fragment { index, offset }))
    }

    fn symlink(&mut self, inode: &mut Inode, extended: bool) -> Result<(), Error> {
        inode.links = self.cursor.u32()?;
        let size = self.cursor.u32()?;
        if size == 0 || size > LONGEST_TARGET {
            return Err(self.fail("the length of its target is not within 4 KiB"));
        }
        inode.size = size.into();
        inode.body = Body::Symlink {
            target: self.cursor.position(),
        };
        if extended {
            // The attributes come after the target.
            self.cursor.skip(size.into())?;
            inode.xattr = self.xattr()?;
        }
        Ok(())
    }

    fn special(&mut self, inode: &mut Inode, extended: bool) -> Result<(), Error> {
        inode.links = self.cursor.u32()?;
        if matches!(inode.kind, Kind::BlockDevice | Kind::CharDevice) {
            inode.device = self.cursor.u32()?;
        }
        if extended {
            inode.xattr = self.xattr()?;
        }
        Ok(())
    }

    fn xattr(&mut self) -> Result<Option<u32>, Error> {
        let index = self.cursor.u32()?;
        Ok((index != NONE).then_some(index))
    }

    fn fail(&self, reason: &'static str) -> Error {
        Error::Inode {
            reference: self.reference,
            reason,
        }
    }
}

/// Returns the length of a directory's listing: its size counts three bytes for "." and "..",
/// which are not stored.
fn listing(size: u32) -> u32 {
    size.saturating_sub(3)
}
