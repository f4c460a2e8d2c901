//! Packing a tar into a squashfs on machines without `mksquashfs`. This is slower, and drops the
//! extended attributes of users.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use backhand::compression::{CompressionOptions, Compressor, Zstd};
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
use oci::Slice;
use tar::EntryType;

use crate::squash::LEVEL;
use crate::{Compression, Error};

/// Block size, in bytes: the default of mksquashfs and of the kernel's documentation.
const BLOCK: u32 = 128 * 1024;

/// Packs the tar that `write` writes, at byte `offset` of a file. The tar is kept in `scratch`
/// meanwhile, because its content is read in another order.
pub(crate) fn pack(
    output: &Path,
    offset: u64,
    compression: Compression,
    time: i64,
    scratch: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut tar = tempfile::tempfile_in(scratch).map_err(Error::file(scratch))?;
    let mut buffered = BufWriter::new(&tar);
    write(&mut buffered)?;
    buffered.flush().map_err(Error::file(scratch))?;
    drop(buffered);
    tar.rewind().map_err(Error::file(scratch))?;
    let squash = |reason: String| Error::Squash(reason);
    let mut packed = FilesystemWriter::default();
    packed.set_block_size(BLOCK);
    packed.set_time(u32::try_from(time).unwrap_or(0));
    packed.set_root_mode(0o755);
    let (kind, options) = match compression {
        Compression::Zstd => {
            let options = Zstd {
                compression_level: LEVEL,
            };
            (Compressor::Zstd, Some(CompressionOptions::Zstd(options)))
        }
        Compression::Gzip => (Compressor::Gzip, None),
    };
    let compressor =
        FilesystemCompressor::new(kind, options).map_err(|error| squash(error.to_string()))?;
    packed.set_compressor(compressor);
    collect(&tar, &mut packed)?;
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(output)
        .map_err(Error::file(output))?;
    packed
        .write_with_offset(BufWriter::new(file), offset)
        .map_err(|error| squash(error.to_string()))?;
    Ok(())
}

fn collect<'a>(tar: &'a File, packed: &mut FilesystemWriter<'_, '_, 'a>) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Squash(text::message(&error));
    let mut contents: HashMap<PathBuf, Slice<'a>> = HashMap::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries_with_seek().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        let header = entry.header();
        let node = NodeHeader {
            permissions: u16::try_from(header.mode().unwrap_or(0) & 0o7777).unwrap_or(0),
            uid: u32::try_from(header.uid().unwrap_or(0)).unwrap_or(0),
            gid: u32::try_from(header.gid().unwrap_or(0)).unwrap_or(0),
            mtime: u32::try_from(header.mtime().unwrap_or(0)).unwrap_or(u32::MAX),
        };
        let link = entry.link_name().map_err(failed)?.unwrap_or_default();
        let pushed = match header.entry_type() {
            EntryType::Directory => packed.push_dir(&path, node),
            EntryType::Symlink => packed.push_symlink(link.into_owned(), &path, node),
            EntryType::Fifo => packed.push_fifo(&path, node),
            EntryType::Link => match contents.get(link.as_ref()) {
                Some(slice) => packed.push_file(slice.clone(), &path, node),
                None => Ok(()),
            },
            _ => {
                let slice = Slice::new(tar, entry.raw_file_position(), entry.size());
                contents.insert(path.clone(), slice.clone());
                packed.push_file(slice, &path, node)
            }
        };
        pushed.map_err(|error| Error::Squash(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}
