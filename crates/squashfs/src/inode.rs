//! Inodes: the fifteen kinds of record in the inode table, converted to one type.

use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::format::{InodeRef, Kind};
use crate::metadata::{Cursor, Position};

/// Marks an absent fragment or an absent set of extended attributes.
const NONE: u32 = u32::MAX;

/// Longest target of a symbolic link, in bytes: the kernel accepts one page.
const LONGEST_TARGET: u32 = 4096;

/// Largest number of blocks of a file. Finding block n means adding up the sizes of all blocks
/// before it. This limit keeps that below a second for an image that claims petabytes. It allows 8
/// TiB with blocks of 128 KiB.
const MOST_BLOCKS: u64 = 1 << 26;

/// A file of any kind: its attributes, and the position of its contents.
#[derive(Debug, Clone)]
pub struct Inode {
    /// The inode's position, which is the same for all names of a hard-linked file.
    pub reference: InodeRef,
    /// The inode's number, from 1 to the inode count.
    pub number: u32,
    /// The kind of the file.
    pub kind: Kind,
    /// Permission bits, with set-id and sticky bits (`mode & 0o7777`).
    pub permissions: u16,
    /// User id of the owner.
    pub uid: u32,
    /// Group id of the owner.
    pub gid: u32,
    /// Time of last change of the contents, in seconds since 1970.
    pub modified: u32,
    /// Number of names.
    pub links: u32,
    /// Size in bytes: that of a file's contents or of a symbolic link's target. For a directory, a
    /// measure of its listing.
    pub size: u64,
    /// Number of a file's bytes that lie in holes, at block granularity.
    pub sparse: u64,
    /// Device number of a device node, as Linux encodes it in 32 bits.
    pub device: u32,
    pub(crate) xattr: Option<u32>,
    pub(crate) body: Body,
}

/// The position of the contents.
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

/// The end of a file, stored in a block that several files share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment {
    pub(crate) index: u32,
    pub(crate) offset: u32,
}

impl Filesystem {
    /// Returns the root directory.
    ///
    /// # Errors
    ///
    /// Metadata that is damaged or cannot be read, or a root that is not a directory.
    pub fn root(&self) -> Result<Inode, Error> {
        let root = self.inode(self.superblock().root)?;
        if root.kind == Kind::Directory {
            Ok(root)
        } else {
            Err(Error::RootNotDirectory)
        }
    }

    /// Returns the target of a symbolic link, at most 4 KiB, as stored.
    ///
    /// # Errors
    ///
    /// Another kind of inode, or metadata that cannot be read.
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        let Body::Symlink { target } = inode.body else {
            return Err(Error::NotSymlink(inode.reference));
        };
        // The size was checked when the inode was read.
        let mut bytes = vec![0; usize::try_from(inode.size).unwrap_or_default()];
        self.inode_cursor_at(target).read(&mut bytes)?;
        if bytes.contains(&0) {
            let reason = "its target has a NUL byte";
            return Err(Error::Inode {
                reference: inode.reference,
                reason,
            });
        }
        Ok(bytes)
    }

    /// Reads an inode.
    ///
    /// # Errors
    ///
    /// A reference outside of the inode table, or an invalid record.
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
            // The attributes follow the target.
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

/// Returns the length of a directory's listing. Its size counts three bytes for "." and "..", which
/// are not stored.
fn listing(size: u32) -> u32 {
    size.saturating_sub(3)
}
