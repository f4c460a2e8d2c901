//! A directory's files as a tar, for a SIF of them: everything belongs to root.

use std::collections::HashMap;
use std::fs::{File, FileType, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci::{Flat, Place};
use rustix::fs::{CWD, Mode, OFlags};
use tar::{Builder, EntryType};
use tree::{Entry, Files};

use super::BuildError;
use super::metadata::Record;
use crate::RootFs;

/// Writes the files below a directory, and what our record adds to them. What is left out is returned.
pub(super) fn write(
    directory: &Path,
    root: &RootFs,
    record: &Record,
    flat: Flat,
    output: impl Write,
) -> Result<Option<String>, BuildError> {
    let mut walk = Walk {
        root: directory,
        output: Builder::new(output),
        links: HashMap::new(),
        skipped: Vec::new(),
        flat,
    };
    walk.directory(Path::new(""))?;
    let ours = record.layer(|path| place(root, path));
    let ours = ours.map_err(BuildError::file(directory))?;
    let mut output = walk.output;
    // The tar of ours follows: its end is the end of both.
    output
        .get_mut()
        .write_all(&ours)
        .map_err(BuildError::written)?;
    Ok(match walk.skipped.as_slice() {
        [] => None,
        [one] => Some(format!("{one} is a device or a socket, and was left out")),
        [one, more @ ..] => Some(format!(
            "{one} and {} more are devices or sockets, and were left out",
            more.len()
        )),
    })
}

/// Returns where a path leads; `None` for one through a file, or a loop of links.
fn place(root: &RootFs, path: &str) -> Option<Place> {
    let path = Path::new("/").join(path);
    let parent = root.locate(path.parent()?).ok()?;
    if !matches!(parent.entry, None | Some(Entry::Directory)) {
        return None;
    }
    let place = parent.path.join(path.file_name()?);
    let is_there = !matches!(root.step(&place), Ok(None));
    let name = place.strip_prefix("/").ok()?.to_str()?.to_owned();
    Some(Place { name, is_there })
}

/// How many names a directory has at most, among a directory and those below it. One that cannot be read is
/// not counted here, and told when it is written.
pub(super) fn fullest(directory: &Path) -> usize {
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
    output: Builder<W>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), PathBuf>,
    skipped: Vec<String>,
    flat: Flat,
}

impl<W: Write> Walk<'_, W> {
    fn directory(&mut self, name: &Path) -> Result<(), BuildError> {
        let path = self.root.join(name);
        let failed = BuildError::file(&path);
        let entries = std::fs::read_dir(&path).and_then(Iterator::collect);
        let mut entries: Vec<std::fs::DirEntry> = entries.map_err(failed)?;
        // The same input gives the same bytes.
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = name.join(entry.file_name());
            let path = entry.path();
            let metadata = entry.metadata().map_err(BuildError::file(&path))?;
            self.entry(&name, &path, &metadata)?;
            if metadata.is_dir() {
                self.directory(&name)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &Path, path: &Path, metadata: &Metadata) -> Result<(), BuildError> {
        let kind = metadata.file_type();
        let Some(of_tar) = in_tar(kind) else {
            self.skipped.push(name.display().to_string());
            return Ok(());
        };
        let time = u64::try_from(metadata.mtime()).unwrap_or(0);
        let mut header = self.flat.header(of_tar, metadata.mode(), time);
        let inode = (metadata.dev(), metadata.ino());
        if !metadata.is_dir() && metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&inode) {
                header.set_entry_type(EntryType::Link);
                let linked = self.output.append_link(&mut header, name, first);
                return linked.map_err(BuildError::written);
            }
            self.links.insert(inode, name.to_owned());
        }
        if kind.is_symlink() {
            let target = std::fs::read_link(path).map_err(BuildError::file(path))?;
            let linked = self.output.append_link(&mut header, name, target);
            return linked.map_err(BuildError::written);
        }
        if !kind.is_file() {
            let appended = self.output.append_data(&mut header, name, io::empty());
            return appended.map_err(BuildError::written);
        }
        // Whatever it has become meanwhile, no link is followed.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| BuildError::file(path)(errno.into()))?;
        let file = File::from(file);
        let size = file.metadata().map_err(BuildError::file(path))?.len();
        header.set_size(size);
        // A file that shrinks is filled up, one that grows is cut: the tar stays whole.
        let content = io::Read::take(io::Read::chain(file, io::repeat(0)), size);
        self.output
            .append_data(&mut header, name, content)
            .map_err(BuildError::written)
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
