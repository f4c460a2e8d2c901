//! Directories: reading a listing, and looking up a name in it.

use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::format::{InodeRef, Kind};
use crate::inode::{Body, Inode};
use crate::metadata::{BLOCK, Cursor, Position};

/// Size of the header before each run of entries, in bytes.
const HEADER: u64 = 12;

/// Size of an entry without its name, in bytes.
const ENTRY: u64 = 8;

/// Largest number of entries that follow a header (`SQUASHFS_DIR_COUNT`).
const LONGEST_RUN: u32 = 256;

/// Longest name, in bytes (`SQUASHFS_NAME_LEN`).
const LONGEST_NAME: usize = 256;

/// An entry of a directory.
#[derive(Debug, Clone)]
pub struct DirEntry {
    /// The name: never empty, "." or "..", and without slashes and NUL bytes.
    pub name: Vec<u8>,
    /// The inode that the name refers to.
    pub inode: InodeRef,
    /// The kind of the inode, according to the directory.
    pub kind: Kind,
    /// The argument for [`Filesystem::read_dir`] to continue after this entry.
    pub next: u64,
}

/// The entries of a directory in the order of their names, without "." and "..".
pub struct ReadDir<'a> {
    cursor: Cursor<'a>,
    directory: InodeRef,
    at: Progress,
    failed: bool,
}

/// The progress of a listing. The server keeps it between two requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    position: Position,
    /// Bytes left in the listing.
    left: u64,
    /// Entries left in the current run, and the inode block that these entries share.
    run: u32,
    block: u32,
    /// Entries read so far.
    count: u64,
}

/// An entry without its name.
struct Found {
    inode: InodeRef,
    kind: Kind,
}

impl Filesystem {
    /// Lists a directory from its entry number `from` on; 0 is the first.
    ///
    /// # Errors
    ///
    /// Another kind of inode, or an invalid listing, which also ends the iteration.
    pub fn read_dir(&self, dir: &Inode, from: u64) -> Result<ReadDir<'_>, Error> {
        let Body::Directory {
            block,
            offset,
            listing,
            ..
        } = dir.body
        else {
            return Err(Error::NotDirectory(dir.reference));
        };
        let cursor = self.directory_cursor(block, offset);
        let position = cursor.position();
        let at = Progress {
            position,
            left: listing.into(),
            run: 0,
            block: 0,
            count: 0,
        };
        let mut entries = ReadDir {
            cursor,
            directory: dir.reference,
            at,
            failed: false,
        };
        let mut name = Vec::new();
        while entries.at.count < from && entries.advance(&mut name)?.is_some() {}
        Ok(entries)
    }

    /// Continues a listing of `directory` at the progress that [`ReadDir::progress`] returned.
    pub(crate) fn resume_dir(&self, directory: InodeRef, at: Progress) -> ReadDir<'_> {
        let cursor = self.directory_cursor_at(at.position);
        ReadDir {
            cursor,
            directory,
            at,
            failed: false,
        }
    }

    /// Looks up a name in a directory. Returns `None` if it is not there.
    ///
    /// # Errors
    ///
    /// As [`read_dir`](Self::read_dir).
    pub fn lookup(&self, dir: &Inode, name: &[u8]) -> Result<Option<Inode>, Error> {
        let mut entries = self.read_dir(dir, 0)?;
        if name.len() > LONGEST_NAME {
            return Ok(None);
        }
        self.seek(dir, name, &mut entries)?;
        let mut found = Vec::new();
        while let Some(entry) = entries.advance(&mut found)? {
            if found == name {
                return self.inode(entry.inode).map(Some);
            }
            // Listings are sorted. Like the kernel, rely on this only for the first byte.
            if found.first() > name.first() {
                break;
            }
        }
        Ok(None)
    }

    /// Moves to the run where `name` would be. Large directories have an index with one entry for
    /// each metadata block of the listing.
    fn seek<'a>(
        &'a self,
        dir: &Inode,
        name: &[u8],
        entries: &mut ReadDir<'a>,
    ) -> Result<(), Error> {
        let Body::Directory {
            offset,
            listing,
            index_count,
            index,
            ..
        } = dir.body
        else {
            return Ok(());
        };
        let mut cursor = self.inode_cursor_at(index);
        let mut first = Vec::new();
        let mut target = None;
        for _ in 0..index_count {
            let byte = cursor.u32()?;
            let block = cursor.u32()?;
            let length = cursor.u32()?;
            first.resize(
                name_length(length)
                    .ok_or_else(|| entries.fail("a name in its index longer than 256 bytes"))?,
                0,
            );
            cursor.read(&mut first)?;
            if first.as_slice() > name {
                break;
            }
            target = Some((byte, block));
        }
        let Some((byte, block)) = target else {
            return Ok(());
        };
        // All metadata blocks but the last are full, so the offset follows from the byte.
        let within = usize::from(offset).saturating_add(usize::try_from(byte).unwrap_or(0)) % BLOCK;
        let within = u16::try_from(within).unwrap_or_default();
        entries.cursor = self.directory_cursor(block, within);
        entries.at.left = u64::from(listing).saturating_sub(byte.into());
        Ok(())
    }
}

impl ReadDir<'_> {
    /// Returns the progress of this listing.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            position: self.cursor.position(),
            ..self.at
        }
    }

    /// Reads the next entry, and its name into `name`.
    fn advance(&mut self, name: &mut Vec<u8>) -> Result<Option<Found>, Error> {
        if self.at.run == 0 {
            if self.at.left == 0 {
                return Ok(None);
            }
            self.take(HEADER)?;
            self.at.run = self.cursor.u32()?.saturating_add(1);
            if self.at.run > LONGEST_RUN {
                return Err(self.fail("a run of more than 256 entries"));
            }
            self.at.block = self.cursor.u32()?;
            let _number = self.cursor.u32()?;
        }
        self.take(ENTRY)?;
        let offset = self.cursor.u16()?;
        let _number = self.cursor.u16()?;
        let kind = Kind::from_type(self.cursor.u16()?);
        let kind = kind.ok_or_else(|| self.fail("an entry of unknown type"))?;
        let length = name_length(self.cursor.u16()?.into());
        let length = length.ok_or_else(|| self.fail("a name longer than 256 bytes"))?;
        self.take(length as u64)?;
        name.resize(length, 0);
        self.cursor.read(name)?;
        // The kernel, or the directory that an image is unpacked into, would treat such a name as a
        // path.
        if name == b"." || name == b".." || name.iter().any(|&byte| byte == b'/' || byte == 0) {
            return Err(self.fail("a name that is none"));
        }
        self.at.run = self.at.run.saturating_sub(1);
        self.at.count = self.at.count.saturating_add(1);
        Ok(Some(Found {
            inode: InodeRef::new(self.at.block, offset),
            kind,
        }))
    }

    fn take(&mut self, bytes: u64) -> Result<(), Error> {
        let left = self.at.left.checked_sub(bytes);
        self.at.left = left.ok_or_else(|| self.fail("its listing ends within an entry"))?;
        Ok(())
    }

    fn fail(&self, reason: &'static str) -> Error {
        Error::Directory {
            reference: self.directory,
            reason,
        }
    }
}

impl Iterator for ReadDir<'_> {
    type Item = Result<DirEntry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let mut name = Vec::new();
        match self.advance(&mut name) {
            Ok(Some(Found { inode, kind })) => Some(Ok(DirEntry {
                name,
                inode,
                kind,
                next: self.at.count,
            })),
            Ok(None) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl std::fmt::Debug for ReadDir<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadDir")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Returns the length of a name. `stored` is the length field, which is one less than the length.
fn name_length(stored: u32) -> Option<usize> {
    let length = usize::try_from(stored).ok()?.checked_add(1)?;
    (length <= LONGEST_NAME).then_some(length)
}
