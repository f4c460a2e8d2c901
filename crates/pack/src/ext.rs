//! Converts the files of an ext2, ext3 or ext4 to a tar: images of this kind were made by
//! Singularity 2.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ext4_view::{Ext4, Ext4Error, Ext4Read, Metadata};
use oci::{Flat, ResolvedName};
use tar::{Builder, EntryType};

use crate::Error;
use crate::metadata::Record;
use image::{MAX_FILE, SmallFiles};

/// An ext2, ext3 or ext4 in a file.
pub(crate) struct Ext {
    fs: Ext4,
    path: PathBuf,
    /// Largest number of entries. A directory that contains itself would have no end.
    most: u64,
}

/// Largest average number of names of a file.
const NAMES: u64 = 8;
/// Number of bytes that are read at a time.
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
    pub(crate) fn open(path: &Path, offset: u64) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::file(path))?;
        // The superblock is at 1024, and begins with the number of inodes (Linux, fs/ext4/ext4.h).
        let mut inodes = [0; 4];
        file.read_exact_at(&mut inodes, offset + 1024)
            .map_err(Error::file(path))?;
        let fs = Ext4::load(Box::new(Part { file, offset }))
            .map_err(|error| Error::file(path)(io_error(error)))?;
        Ok(Self {
            fs,
            path: path.to_owned(),
            most: u64::from(u32::from_le_bytes(inodes)) * NAMES,
        })
    }

    fn failed(&self) -> impl Fn(Ext4Error) -> Error + '_ {
        |error| Error::file(&self.path)(io_error(error))
    }

    /// Resolves a path. Returns `None` for a path through a file, or through a link without a
    /// target.
    fn place(&self, path: &str) -> Option<ResolvedName> {
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
        Some(ResolvedName { name, is_there })
    }

    /// Writes the files, and the files that our record adds. Returns a message about entries that
    /// were left out.
    pub(crate) fn write(
        &self,
        record: &Record,
        flat: Flat,
        output: impl Write,
    ) -> Result<Option<String>, Error> {
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
                    return Err(Error::file(&self.path)(error));
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
        let ours = ours.map_err(Error::file(&self.path))?;
        output.get_mut().write_all(&ours).map_err(Error::written)?;
        Ok((skipped > 0).then(|| format!("{skipped} devices and sockets were left out")))
    }

    /// Writes an entry. Returns `false` for a kind that is left out.
    fn entry(
        &self,
        path: &[u8],
        metadata: &Metadata,
        flat: Flat,
        output: &mut Builder<impl Write>,
    ) -> Result<bool, Error> {
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
        written.map_err(Error::written)?;
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

impl SmallFiles for Ext {
    fn bytes(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let is_small = |metadata: &Metadata| {
            metadata.file_type().is_regular_file() && metadata.len() <= MAX_FILE as u64
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
