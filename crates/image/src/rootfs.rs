//! A root file system: something to mount, whose files can be read before it is.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use squashfs::Kind;

use crate::directory::Directory;
use crate::entry::{Entry, Step};

/// A root file system.
#[derive(Debug)]
pub enum RootFs {
    /// A directory to bind.
    Directory(Directory),
    /// A squashfs to mount.
    Squashfs(Box<Squashed>),
    /// Files to lay out.
    Embedded(&'static [Embedded]),
}

/// A squashfs within a file.
#[derive(Debug)]
pub struct Squashed {
    /// The file.
    pub file: File,
    /// Where in it the squashfs begins, in bytes.
    pub offset: u64,
    /// How many bytes of the file belong to it.
    pub size: u64,
    /// Its reader, with the superblock checked.
    pub filesystem: squashfs::Filesystem,
}

/// A file that the program itself brings.
#[derive(Debug, Clone, Copy)]
pub struct Embedded {
    /// Its absolute path in the image.
    pub path: &'static str,
    /// Its permission bits.
    pub mode: u32,
    /// Its content.
    pub content: &'static [u8],
}

/// Where a path leads within a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The absolute path without links, `.` and `..`; what is missing at its end is as it was given.
    pub path: PathBuf,
    /// What is there, `None` when nothing is.
    pub entry: Option<Entry>,
}

/// How many links a path may lead through: as many as the kernel allows, path_resolution(7).
const MAX_LINKS: usize = 40;

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

    /// Unpacks it below an empty directory; `path` is what the image is called in errors.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged, or a file cannot be made.
    pub fn unpack(&self, path: &Path, into: &Path) -> Result<(), crate::BuildError> {
        match squashfs::extract(&self.filesystem, into) {
            Ok(_) => Ok(()),
            Err(source) => Err(crate::BuildError::Unpack {
                path: path.to_owned(),
                source,
            }),
        }
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

    fn read(&self, path: &Path, limit: usize) -> Result<Option<Vec<u8>>, squashfs::Error> {
        let Some(inode) = self
            .filesystem
            .resolve(path)?
            .filter(|inode| inode.kind == Kind::File)
        else {
            return Ok(None);
        };
        let length = usize::try_from(inode.size).unwrap_or(usize::MAX).min(limit);
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.filesystem.read(&inode, filled as u64, rest)? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(Some(bytes))
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

impl RootFs {
    /// Returns what `path` is, `None` when there is no such thing.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read or is damaged there.
    pub fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        match self {
            Self::Directory(directory) => directory.entry(path),
            Self::Squashfs(squashed) => squashed.entry(path).map_err(io::Error::other),
            Self::Embedded(files) => Ok(embedded_entry(files, path)),
        }
    }

    /// Follows `path` to where it leads, even if nothing is there.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read, is damaged there, or has a loop of links.
    pub fn locate(&self, path: &Path) -> io::Result<Place> {
        let mut ahead: Vec<OsString> = names_backwards(path);
        let mut here = PathBuf::from("/");
        let mut entry = Some(Entry::Directory);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let step = if entry.is_some() {
                self.step(&next)?
            } else {
                None
            };
            match step {
                Some(Step::Link(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(io::Error::other("too many levels of symbolic links"));
                    }
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    ahead.extend(names_backwards(&target));
                }
                Some(Step::Entry(found)) => {
                    here = next;
                    entry = Some(found);
                }
                None => {
                    here = next;
                    entry = None;
                }
            }
        }
        Ok(Place { path: here, entry })
    }

    fn step(&self, path: &Path) -> io::Result<Option<Step>> {
        match self {
            Self::Directory(directory) => directory.step(path),
            Self::Squashfs(squashed) => squashed.step(path).map_err(io::Error::other),
            Self::Embedded(files) => Ok(embedded_entry(files, path).map(Step::Entry)),
        }
    }

    /// Returns at most `limit` bytes of the regular file at `path`, `None` when there is none.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read or is damaged there.
    pub fn read(&self, path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Directory(directory) => directory.read(path, limit),
            Self::Squashfs(squashed) => squashed.read(path, limit).map_err(io::Error::other),
            Self::Embedded(files) => Ok(files
                .iter()
                .find(|file| Path::new(file.path) == path)
                .map(|file| file.content.iter().copied().take(limit).collect())),
        }
    }

    /// Returns the sorted names in the directory at `path`; none when there is no such directory.
    ///
    /// # Errors
    ///
    /// Fails when the image cannot be read or is damaged there.
    pub fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
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

/// The names in a path, last one first: a stack of what is still ahead.
fn names_backwards(path: &Path) -> Vec<OsString> {
    let names = path
        .components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn places_stay_inside_whatever_links_say() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("run/lock")).unwrap();
        std::fs::create_dir(root.join("var")).unwrap();
        symlink("/run", root.join("var/run")).unwrap();
        symlink("../../../../etc/passwd", root.join("escape")).unwrap();
        symlink("/usr/share/zoneinfo/UTC", root.join("localtime")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let rootfs = RootFs::Directory(Directory::new(
            root.to_owned(),
            std::fs::File::open(root).unwrap().into(),
        ));
        let place = |path: &str| rootfs.locate(Path::new(path)).unwrap();
        let missing = |path: &str| Place {
            path: path.into(),
            entry: None,
        };
        assert_eq!(
            place("/var/run/lock"),
            Place {
                path: "/run/lock".into(),
                entry: Some(Entry::Directory)
            }
        );
        assert_eq!(place("/var/run/new/dir"), missing("/run/new/dir"));
        assert_eq!(place("/escape"), missing("/etc/passwd"));
        assert_eq!(place("/localtime"), missing("/usr/share/zoneinfo/UTC"));
        assert_eq!(place("/../../x"), missing("/x"));
        assert!(rootfs.locate(Path::new("/loop/x")).is_err());
        assert_eq!(rootfs.entry(Path::new("/escape")).unwrap(), None);
    }
}
