//! Converts a directory's files to a tar for a SIF.

use std::collections::HashMap;
use std::fs::{File, FileType, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci::{Flat, ResolvedName};
use rootfs::{Directory, Entry, Files, OwnerAccess};
use rustix::fs::{CWD, Mode, OFlags};
use tar::{Builder, EntryType};

use crate::Error;
use crate::metadata::Record;
use image::RootFs;

/// Writes the files below a directory, and the files that our record adds. Returns a message about
/// files that were left out.
pub(crate) fn write(
    directory: &Path,
    root: &RootFs,
    record: &Record,
    flat: Flat,
    output: impl Write,
) -> Result<Option<String>, Error> {
    let opened = Directory::open_root(directory).map_err(Error::file(directory))?;
    let mut walk = Walk {
        root: directory,
        opened: &opened,
        output: Builder::new(output),
        links: HashMap::new(),
        skipped: Vec::new(),
        flat,
    };
    walk.directory(Path::new(""))?;
    let ours = record.layer(|path| place(root, path));
    let ours = ours.map_err(Error::file(directory))?;
    let mut output = walk.output;
    // The tar of our files follows; its end is the end of both.
    output.get_mut().write_all(&ours).map_err(Error::written)?;
    Ok(match walk.skipped.as_slice() {
        [] => None,
        [one] => Some(format!("{one} is a device or a socket, and was left out")),
        [one, more @ ..] => Some(format!(
            "{one} and {} more are devices or sockets, and were left out",
            more.len()
        )),
    })
}

/// Resolves a path. Returns `None` for a path through a file, or a loop of links.
fn place(root: &RootFs, path: &str) -> Option<ResolvedName> {
    let path = Path::new("/").join(path);
    let parent = root.locate(path.parent()?).ok()?;
    if !matches!(parent.entry, None | Some(Entry::Directory)) {
        return None;
    }
    let place = parent.path.join(path.file_name()?);
    let is_there = !matches!(root.step(&place), Ok(None));
    let name = place.strip_prefix("/").ok()?.to_str()?.to_owned();
    Some(ResolvedName { name, is_there })
}

/// Returns the number of names in the fullest directory of a tree. A directory that cannot be read
/// is not counted here, because writing it will report the error.
pub(crate) fn fullest(directory: &Path) -> usize {
    let mut fullest = 0;
    let mut ahead = vec![directory.to_owned()];
    while let Some(directory) = ahead.pop() {
        let mut count = 0;
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            count += 1;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ahead.push(entry.path());
            }
        }
        fullest = fullest.max(count);
    }
    fullest
}

struct Walk<'a, W: Write> {
    root: &'a Path,
    opened: &'a Directory,
    output: Builder<W>,
    /// The first name of each file that has several names.
    links: HashMap<(u64, u64), PathBuf>,
    skipped: Vec<String>,
    flat: Flat,
}

impl<W: Write> Walk<'_, W> {
    fn directory(&mut self, name: &Path) -> Result<(), Error> {
        let path = self.root.join(name);
        let _access = self.access(name)?;
        let failed = Error::file(&path);
        let entries = std::fs::read_dir(&path).and_then(Iterator::collect);
        let mut entries: Vec<std::fs::DirEntry> = entries.map_err(failed)?;
        // The order makes the output reproducible.
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = name.join(entry.file_name());
            let path = entry.path();
            let metadata = entry.metadata().map_err(Error::file(&path))?;
            self.entry(&name, &path, &metadata)?;
            if metadata.is_dir() {
                self.directory(&name)?;
            }
        }
        Ok(())
    }

    /// Lets this process read a file of the user's that is closed even to its owner.
    fn access(&self, name: &Path) -> Result<Option<OwnerAccess>, Error> {
        let access = self.opened.give_owner_access(&Path::new("/").join(name));
        access.map_err(Error::file(&self.root.join(name)))
    }

    fn entry(&mut self, name: &Path, path: &Path, metadata: &Metadata) -> Result<(), Error> {
        let kind = metadata.file_type();
        let Some(of_tar) = in_tar(kind) else {
            self.skipped.push(name.display().to_string());
            return Ok(());
        };
        let time = u64::try_from(metadata.mtime()).unwrap_or(0);
        let mut header = self.flat.header(of_tar, metadata.mode(), time);
        let owner = (metadata.uid().into(), metadata.gid().into());
        self.flat.own(&mut header, owner);
        let inode = (metadata.dev(), metadata.ino());
        if !metadata.is_dir() && metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&inode) {
                header.set_entry_type(EntryType::Link);
                let linked = self.output.append_link(&mut header, name, first);
                return linked.map_err(Error::written);
            }
            self.links.insert(inode, name.to_owned());
        }
        if kind.is_symlink() {
            let target = std::fs::read_link(path).map_err(Error::file(path))?;
            let linked = self.output.append_link(&mut header, name, target);
            return linked.map_err(Error::written);
        }
        if !kind.is_file() {
            let appended = self.output.append_data(&mut header, name, io::empty());
            return appended.map_err(Error::written);
        }
        let _access = self.access(name)?;
        // The file may have been replaced meanwhile, so no link is followed.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| Error::file(path)(errno.into()))?;
        let file = File::from(file);
        let size = file.metadata().map_err(Error::file(path))?.len();
        header.set_size(size);
        // A file that shrinks is padded and a file that grows is truncated, so the tar stays valid.
        let content = io::Read::take(io::Read::chain(file, io::repeat(0)), size);
        self.output
            .append_data(&mut header, name, content)
            .map_err(Error::written)
    }
}

fn in_tar(kind: FileType) -> Option<EntryType> {
    Some(if kind.is_dir() {
        EntryType::Directory
    } else if kind.is_file() {
        EntryType::Regular
    } else if kind.is_symlink() {
        EntryType::Symlink
    } else if kind.is_fifo() {
        EntryType::Fifo
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_directory_is_found() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("a/b")).unwrap();
        for number in 0..9 {
            std::fs::write(home.path().join(format!("a/b/{number}")), "").unwrap();
        }
        assert_eq!(fullest(home.path()), 9);
    }
}
