//! The files of an ext2, ext3 or ext4 as a tar: images as Singularity 2 made them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ext4_view::{Ext4, Ext4Error, Ext4Read, Metadata};
use oci::{Flat, Place};
use tar::{Builder, EntryType};

use super::BuildError;
use super::metadata::Record;
use crate::inspect::Files;

/// A file system of that kind within a file.
pub(super) struct Ext {
    fs: Ext4,
    path: PathBuf,
    /// How many entries there may be at most; a directory that leads into itself has no end.
    most: u64,
}

/// How many names a file may have, on the average.
const NAMES: u64 = 8;
/// Bytes read at a time.
const CHUNK: usize = 1 << 16;

struct Part {
    file: File,
    offset: u64,
}

impl Ext4Read for Part {
    fn read(
        &mut self,
        start: u64,
        into: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.file.read_exact_at(into, self.offset + start)?)
    }
}

fn io_error(error: Ext4Error) -> io::Error {
    match error {
        Ext4Error::NotFound => io::ErrorKind::NotFound.into(),
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}

impl Ext {
    pub(super) fn open(path: &Path, offset: u64) -> Result<Self, BuildError> {
        let file = File::open(path).map_err(BuildError::file(path))?;
        // The superblock is at 1024, and begins with the number of inodes (Linux, fs/ext4/ext4.h).
        let mut inodes = [0; 4];
        file.read_exact_at(&mut inodes, offset + 1024)
            .map_err(BuildError::file(path))?;
        let fs = Ext4::load(Box::new(Part { file, offset }))
            .map_err(|error| BuildError::file(path)(io_error(error)))?;
        Ok(Self {
            fs,
            path: path.to_owned(),
            most: u64::from(u32::from_le_bytes(inodes)) * NAMES,
        })
    }

    fn failed(&self) -> impl Fn(Ext4Error) -> BuildError + '_ {
        |error| BuildError::file(&self.path)(io_error(error))
    }

    /// Returns where a path leads; `None` for one through a file, or through a link that leads nowhere.
    fn place(&self, path: &str) -> Option<Place> {
        let (parent, last) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = format!("/{parent}");
        let real = match self.fs.canonicalize(&parent) {
            Ok(real) => {
                let is_directory = self.fs.metadata(&real).is_ok_and(|found| found.is_dir());
                is_directory.then(|| real.display().to_string())?
            }
            Err(_) if self.fs.symlink_metadata(&parent).is_ok() => return None,
            Err(_) => parent,
        };
        let name = format!("{}/{last}", real.trim_end_matches('/'));
        let is_there = self.fs.symlink_metadata(&name).is_ok();
        let name = name.trim_start_matches('/').to_owned();
        Some(Place { name, is_there })
    }

    /// Writes the files, and what our record adds to them. What is left out is returned.
    pub(super) fn write(
        &self,
        record: &Record,
        flat: Flat,
        output: impl Write,
    ) -> Result<Option<String>, BuildError> {
        let mut output = Builder::new(output);
        let mut skipped = 0_u64;
        let mut seen = 0_u64;
        let mut directories = vec![b"/".to_vec()];
        while let Some(directory) = directories.pop() {
            let entries = self
                .fs
                .read_dir(directory.as_slice())
                .map_err(self.failed())?;
            for entry in entries {
                let entry = entry.map_err(self.failed())?;
                let name = entry.file_name();
                if matches!(name.as_ref(), b"." | b"..") {
                    continue;
                }
                seen += 1;
                if seen > self.most {
                    let error = io::Error::other("it has more names than it can have");
                    return Err(BuildError::file(&self.path)(error));
                }
                let path = entry.path();
                let path: &[u8] = path.as_ref();
                let metadata = entry.metadata().map_err(self.failed())?;
                if metadata.is_dir() {
                    directories.push(path.to_vec());
                }
                skipped += u64::from(!self.entry(path, &metadata, flat, &mut output)?);
            }
        }
        let ours = record.layer(|path| self.place(path));
        let ours = ours.map_err(BuildError::file(&self.path))?;
        output
            .get_mut()
            .write_all(&ours)
            .map_err(BuildError::written)?;
        Ok((skipped > 0).then(|| format!("{skipped} devices and sockets were left out")))
    }

    /// Writes an entry; `false` when it is of a kind that is left out.
    fn entry(
        &self,
        path: &[u8],
        metadata: &Metadata,
        flat: Flat,
        output: &mut Builder<impl Write>,
    ) -> Result<bool, BuildError> {
        let name = path.strip_prefix(b"/").unwrap_or(path);
        let name = Path::new(std::ffi::OsStr::from_bytes(name));
        let kind = metadata.file_type();
        let of_tar = if metadata.is_symlink() {
            EntryType::Symlink
        } else if metadata.is_dir() {
            EntryType::Directory
        } else if kind.is_fifo() {
            EntryType::Fifo
        } else if kind.is_regular_file() {
            EntryType::Regular
        } else {
            return Ok(false);
        };
        let time = u64::try_from(metadata.modified().seconds()).unwrap_or(0);
        let mut header = flat.header(of_tar, u32::from(metadata.mode()), time);
        let written = match of_tar {
            EntryType::Symlink => {
                let target = self.fs.read_link(path).map_err(self.failed())?;
                let target: &[u8] = target.as_ref();
                let target = Path::new(std::ffi::OsStr::from_bytes(target));
                output.append_link(&mut header, name, target)
            }
            EntryType::Regular => {
                header.set_size(metadata.len());
                let content = self.fs.open(path).map_err(self.failed())?;
                let content = Content(content).take(metadata.len());
                output.append_data(&mut header, name, content)
            }
            _ => output.append_data(&mut header, name, io::empty()),
        };
        written.map_err(BuildError::written)?;
        Ok(true)
    }
}

struct Content(ext4_view::File);

impl Read for Content {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(CHUNK);
        let into = into.get_mut(..length).unwrap_or_default();
        self.0.read_bytes(into).map_err(io_error)
    }
}

impl Files for Ext {
    fn bytes(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let is_small = |metadata: &Metadata| {
            metadata.file_type().is_regular_file()
                && metadata.len() <= crate::inspect::LONGEST as u64
        };
        match self.fs.metadata(path) {
            Ok(metadata) if is_small(&metadata) => self.fs.read(path).map(Some).map_err(io_error),
            _ => Ok(None),
        }
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let Ok(entries) = self.fs.read_dir(path) else {
            return Ok(Vec::new());
        };
        let names = entries.filter_map(Result::ok).filter_map(|entry| {
            let name = entry.file_name().as_str().ok()?.to_owned();
            (name != "." && name != "..").then_some(name)
        });
        Ok(names.collect())
    }
}
