//! A root file system, whose files can be read before it is mounted.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rootfs::{Content, Directory, Entry, Files, Step};
use squashfs::Kind;

/// A root file system.
#[derive(Debug)]
pub enum RootFs {
    /// A directory to bind-mount.
    Directory(Directory),
    /// A squashfs to mount.
    Squashfs(Box<Squashed>),
    /// Files to write out.
    Embedded(&'static [Embedded]),
}

/// A squashfs in a file.
#[derive(Debug)]
pub struct Squashed {
    /// The file.
    pub file: File,
    /// The offset of the squashfs in the file, in bytes.
    pub offset: u64,
    /// The size of the squashfs, in bytes.
    pub size: u64,
    /// The squashfs's reader. Its superblock has been checked.
    pub filesystem: squashfs::Filesystem,
}

/// A file that is embedded in this program.
#[derive(Debug, Clone, Copy)]
pub struct Embedded {
    /// The file's absolute path in the image.
    pub path: &'static str,
    /// The file's permission bits.
    pub mode: u32,
    /// The file's content.
    pub content: &'static [u8],
}

impl Squashed {
    pub(crate) fn new(
        file: File,
        reader: File,
        offset: u64,
        size: u64,
    ) -> Result<Self, squashfs::Error> {
        let filesystem = squashfs::Filesystem::open(reader, offset, Some(size))?;
        Ok(Self {
            file,
            offset,
            size,
            filesystem,
        })
    }

    /// Returns a text that changes with the image: the identity of its file, the position of the
    /// squashfs, and the times of the last change.
    ///
    /// # Errors
    ///
    /// Fails when the file's status cannot be read.
    pub fn stamp(&self) -> io::Result<String> {
        let stat = self.file.metadata()?;
        let changed = (
            stat.mtime(),
            stat.mtime_nsec(),
            stat.ctime(),
            stat.ctime_nsec(),
        );
        let place = (stat.dev(), stat.ino(), stat.len(), self.offset, self.size);
        Ok(format!("{place:?} {changed:?}"))
    }

    fn entry(&self, path: &Path) -> Result<Option<Entry>, squashfs::Error> {
        Ok(self.filesystem.resolve(path)?.map(|inode| kind(&inode)))
    }

    fn step(&self, path: &Path) -> Result<Option<Step>, squashfs::Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Some(Step::Entry(Entry::Directory)));
        };
        let Some(parent) = self.filesystem.resolve(parent)?.filter(is_directory) else {
            return Ok(None);
        };
        let Some(inode) = self.filesystem.lookup(&parent, name.as_bytes())? else {
            return Ok(None);
        };
        if inode.kind == Kind::Symlink {
            let target = self.filesystem.read_link(&inode)?;
            return Ok(Some(Step::Link(PathBuf::from(OsStr::from_bytes(&target)))));
        }
        Ok(Some(Step::Entry(kind(&inode))))
    }

    fn open(&self, path: &Path) -> Result<Option<Box<dyn Content + '_>>, squashfs::Error> {
        let inode = self.filesystem.resolve(path)?;
        let file = inode.filter(|inode| inode.kind == Kind::File);
        Ok(file.map(|inode| {
            Box::new(Reader {
                filesystem: &self.filesystem,
                inode,
                at: 0,
            }) as Box<dyn Content>
        }))
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, squashfs::Error> {
        let Some(inode) = self.filesystem.resolve(path)?.filter(is_directory) else {
            return Ok(Vec::new());
        };
        let mut names = self
            .filesystem
            .read_dir(&inode, 0)?
            .map(|entry| entry.map(|entry| OsString::from_vec(entry.name)))
            .collect::<Result<Vec<_>, _>>()?;
        names.sort();
        Ok(names)
    }
}

impl Files for RootFs {
    fn step(&self, path: &Path) -> io::Result<Option<Step>> {
        match self {
            Self::Directory(directory) => directory.step(path),
            Self::Squashfs(squashed) => squashed.step(path).map_err(io::Error::other),
            Self::Embedded(files) => Ok(embedded_entry(files, path).map(Step::Entry)),
        }
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        match self {
            Self::Directory(directory) => directory.entry(path),
            Self::Squashfs(squashed) => squashed.entry(path).map_err(io::Error::other),
            Self::Embedded(files) => Ok(embedded_entry(files, path)),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Content + '_>>> {
        match self {
            Self::Directory(directory) => directory.open(path),
            Self::Squashfs(squashed) => squashed.open(path).map_err(io::Error::other),
            Self::Embedded(files) => {
                let file = files.iter().find(|file| Path::new(file.path) == path);
                Ok(file.map(|file| Box::new(io::Cursor::new(file.content)) as Box<dyn Content>))
            }
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        match self {
            Self::Directory(directory) => directory.list(path),
            Self::Squashfs(squashed) => squashed.list(path).map_err(io::Error::other),
            Self::Embedded(files) => {
                let inside = files
                    .iter()
                    .filter_map(|file| Path::new(file.path).strip_prefix(path).ok());
                let mut names: Vec<_> = inside
                    .filter_map(|rest| rest.iter().next().map(OsStr::to_owned))
                    .collect();
                names.sort();
                names.dedup();
                Ok(names)
            }
        }
    }
}

/// A file of a squashfs, and the position of the next read.
struct Reader<'a> {
    filesystem: &'a squashfs::Filesystem,
    inode: squashfs::Inode,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.filesystem.read(&self.inode, self.at, into);
        let read = read.map_err(io::Error::other)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.inode.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

fn embedded_entry(files: &[Embedded], path: &Path) -> Option<Entry> {
    if let Some(file) = files.iter().find(|file| Path::new(file.path) == path) {
        return Some(Entry::File {
            executable: file.mode & 0o111 != 0,
        });
    }
    files
        .iter()
        .any(|file| Path::new(file.path).starts_with(path))
        .then_some(Entry::Directory)
}

fn kind(inode: &squashfs::Inode) -> Entry {
    match inode.kind {
        Kind::Directory => Entry::Directory,
        Kind::File => Entry::File {
            executable: inode.permissions & 0o111 != 0,
        },
        _ => Entry::Other,
    }
}

fn is_directory(inode: &squashfs::Inode) -> bool {
    inode.kind == Kind::Directory
}
