//! Opening an image: from a path to a root file system.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rootfs::{Directory, Files};
use rustix::fs::{Mode, OFlags};
use sif::{Architecture, DataType, Descriptor, FileSystem, Sif};

use crate::Error;
use crate::platform::host_architecture;
use crate::root_fs::{RootFs, Squashed};

/// An opened image.
#[derive(Debug)]
pub struct Image {
    /// The image's absolute path, as given by the caller (links are not followed).
    pub path: PathBuf,
    /// The kind of medium.
    pub medium: Medium,
    /// The image's root file system.
    pub root: RootFs,
    /// Go's name of the image's architecture, if the image states one.
    pub architecture: Option<&'static str>,
}

/// The kinds of medium that hold an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// A directory tree.
    Sandbox,
    /// A SIF.
    Sif,
    /// A squashfs, bare or behind a `#!` line as written by Singularity 2.
    Squashfs,
    /// Files that are embedded in this program.
    Embedded,
}

/// Number of bytes that are enough to recognise every format: a SIF's magic ends at 42, a `#!` line
/// has 31 bytes, and the magic of an ext3 ends 1082 bytes behind that line.
const PROBE: usize = 2048;

impl Image {
    /// Opens the image at `path`, an absolute path.
    ///
    /// # Errors
    ///
    /// Fails when the path cannot be read, has no known format, is for another architecture than
    /// this program's, or is damaged in a part that must be read before it is mounted.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let image = Self::open_foreign(path)?;
        match (image.architecture, host_architecture()) {
            (Some(of), Some(host)) if !runs(of, host) => Err(Error::Architecture {
                path: path.to_owned(),
                image: of,
                host,
            }),
            _ => Ok(image),
        }
    }

    /// Opens the image at `path`, an absolute path, even if it is for another architecture.
    ///
    /// # Errors
    ///
    /// As [`Image::open`].
    pub fn open_foreign(path: &Path) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Open {
            path: path.to_owned(),
            source,
        };
        // Non-blocking, so that a FIFO without a writer is an error, not a hang.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file =
            File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?);
        let metadata = file.metadata().map_err(failed)?;
        let kind = metadata.file_type();
        let (medium, root, architecture) = if kind.is_dir() {
            let directory = Directory::new(path.to_owned(), file.into());
            if is_layout(&directory).map_err(failed)? {
                return Err(Error::Layout(path.to_owned()));
            }
            (Medium::Sandbox, RootFs::Directory(directory), None)
        } else if kind.is_file() {
            open_file(path, file, metadata.len())?
        } else {
            let kind = if kind.is_fifo() {
                "a FIFO"
            } else if kind.is_socket() {
                "a socket"
            } else {
                "a device"
            };
            return Err(Error::NotAFile {
                path: path.to_owned(),
                kind,
            });
        };
        Ok(Self {
            path: path.to_owned(),
            medium,
            root,
            architecture,
        })
    }

    /// Opens the file system in a file whose files are used as data, whatever machine it is for. In a
    /// SIF, it is the partition with this number, or else the primary one, or else the first.
    ///
    /// # Errors
    ///
    /// As [`Image::open`]; also fails when the SIF has no such partition.
    pub fn open_data(path: &Path, partition: Option<u32>) -> Result<RootFs, Error> {
        let is_data = |descriptor: &Descriptor| match (partition, &descriptor.data) {
            (Some(id), DataType::Partition(_)) => descriptor.id == id,
            (None, DataType::Partition(found)) => found.file_system == FileSystem::Squashfs,
            _ => false,
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        let sif = opened.ok().map(File::from).and_then(|file| {
            let sif = Sif::read(&file).ok()?;
            Some((file, sif))
        });
        let Some((file, sif)) = sif else {
            return Ok(Self::open_foreign(path)?.root);
        };
        if partition.is_none() && sif.primary().is_some() {
            return Ok(Self::open_foreign(path)?.root);
        }
        let found = sif.descriptors.iter().find(|one| is_data(one));
        let found = found.ok_or_else(|| Error::NoPartition {
            path: path.to_owned(),
        })?;
        squashed(path, file, found.offset, found.size)
    }

    /// Returns the last component of the image's path.
    #[must_use]
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or(self.path.as_os_str())
            .to_string_lossy()
            .into_owned()
    }
}

/// The kind of a file, its root file system, and the architecture that the file states.
type Opened = (Medium, RootFs, Option<&'static str>);

fn open_file(path: &Path, file: File, size: u64) -> Result<Opened, Error> {
    let mut start = [0; PROBE];
    let read = read_start(&file, &mut start).map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })?;
    let start = start.get(..read).unwrap_or_default();
    let (medium, offset, length, architecture) = if sif::is_sif(start) {
        let (offset, length, architecture) = sif_partition(path, &file)?;
        let name = architecture.map(Architecture::name);
        (Medium::Sif, offset, length, name)
    } else {
        let offset = squashfs_offset(start).ok_or_else(|| {
            let path = path.to_owned();
            match legacy_offset(start) {
                Some(offset) => Error::Legacy { path, offset },
                None if is_tar(start) => Error::Tar(path),
                None => Error::Unrecognized { path },
            }
        })?;
        (Medium::Squashfs, offset, size.saturating_sub(offset), None)
    };
    let root = squashed(path, file, offset, length)?;
    Ok((medium, root, architecture))
}

fn squashed(path: &Path, file: File, offset: u64, length: u64) -> Result<RootFs, Error> {
    let reader = file.try_clone().map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })?;
    let root = Squashed::new(file, reader, offset, length).map_err(|source| Error::Squashfs {
        path: path.to_owned(),
        source,
    })?;
    Ok(RootFs::Squashfs(Box::new(root)))
}

/// Whether a directory is an OCI layout (image-spec, image-layout.md) and not a root file system.
fn is_layout(directory: &Directory) -> io::Result<bool> {
    let has = |path: &str| Ok::<_, io::Error>(directory.entry(Path::new(path))?.is_some());
    Ok(has("/oci-layout")? && has("/index.json")? && !has("/bin")? && !has("/usr")?)
}

/// Whether a file with these first bytes is a tar (POSIX, ustar), possibly compressed by gzip.
fn is_tar(start: &[u8]) -> bool {
    start.get(257..262) == Some(b"ustar") || start.starts_with(&[0x1f, 0x8b])
}

/// Whether a file with these first bytes, 2048 or fewer, has a format that can be opened.
#[must_use]
pub fn is_known(start: &[u8]) -> bool {
    sif::is_sif(start) || squashfs_offset(start).is_some() || legacy_offset(start).is_some()
}

fn read_start(file: &File, start: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = start.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Returns the offset of a bare squashfs: 0, or behind the `#!` line that Singularity 2 put in
/// front of a `.simg`.
fn squashfs_offset(start: &[u8]) -> Option<u64> {
    behind_line(start, squashfs::is_squashfs)
}

/// Returns the offset of an ext2, ext3 or ext4, bare or behind such a line. The superblock is at
/// 1024, and its magic is at byte 56 of it (Linux, fs/ext4/ext4.h).
fn legacy_offset(start: &[u8]) -> Option<u64> {
    behind_line(start, |start| start.get(1080..1082) == Some(&[0x53, 0xef]))
}

fn behind_line(start: &[u8], is_it: impl Fn(&[u8]) -> bool) -> Option<u64> {
    if is_it(start) {
        return Some(0);
    }
    let line = start
        .starts_with(b"#!")
        .then(|| start.iter().position(|byte| *byte == b'\n'))??;
    let offset = line + 1;
    is_it(start.get(offset..)?).then_some(offset as u64)
}

/// The offset and the length of the root file system, and its architecture.
type RootPartition = (u64, u64, Option<Architecture>);

fn sif_partition(path: &Path, file: &File) -> Result<RootPartition, Error> {
    let sif = Sif::read(file).map_err(|source| Error::Sif {
        path: path.to_owned(),
        source,
    })?;
    let Some((descriptor, partition)) = sif.primary() else {
        return Err(Error::NoPrimaryPartition {
            path: path.to_owned(),
        });
    };
    let unsupported = |what| {
        Err(Error::Partition {
            path: path.to_owned(),
            what,
        })
    };
    match partition.file_system {
        FileSystem::Squashfs => {}
        FileSystem::Ext3 => {
            return Err(Error::Legacy {
                path: path.to_owned(),
                offset: descriptor.offset,
            });
        }
        FileSystem::Archive => return unsupported("an archive"),
        FileSystem::Raw => return unsupported("raw data"),
        FileSystem::EncryptedSquashfs | FileSystem::GocryptfsSquashfs => {
            return unsupported("encrypted");
        }
    }
    let architecture = partition.architecture.or(sif.header.architecture);
    Ok((descriptor.offset, descriptor.size, architecture))
}

/// Whether programs of `image` run on `host` without emulation.
fn runs(image: &str, host: &str) -> bool {
    image == host || matches!((image, host), ("386", "amd64") | ("arm", "arm64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_squashfs_behind_a_launch_line() {
        let magic = b"hsqs\0\0\0\0";
        assert_eq!(squashfs_offset(magic), Some(0));
        let simg = [b"#!/usr/bin/env run-singularity\n".as_slice(), magic].concat();
        assert_eq!(squashfs_offset(&simg), Some(31));
        assert_eq!(squashfs_offset(b"#!/bin/sh\necho hello\n"), None);
        assert_eq!(squashfs_offset(b"#!/bin/sh"), None);
    }

    #[test]
    fn tells_what_a_path_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let text = dir.path().join("text");
        std::fs::write(&text, "hello").unwrap();
        let cases = [
            (fifo, "is a FIFO, not an image"),
            (text, "image format not recognized"),
            (dir.path().join("missing"), "no such file or directory"),
        ];
        for (path, message) in cases {
            let error = text::one_line(&Image::open(&path).unwrap_err());
            assert!(
                error.contains(message) && error.contains(&*path.to_string_lossy()),
                "{error}"
            );
        }
    }
}
