//! The Singularity image format (SIF): the objects of a file and their positions.
//!
//! The layout follows `github.com/sylabs/sif`, format version 01. It is little-endian and packed: a
//! header of 128 bytes at offset 0, a table of descriptors of 585 bytes each, then the objects. The
//! file is not trusted: every offset and size is checked against the file before it is used.

#![forbid(unsafe_code)]

mod architecture;
mod descriptor;
mod field;
mod header;
mod write;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub use architecture::Architecture;
pub use descriptor::{DataType, Descriptor, FileSystem, Link, Partition, PartitionKind, Signature};
pub use header::Header;
pub use write::{LAUNCH, NewObject, partition_offset};

/// The bytes at offset 32 of every SIF.
const MAGIC: &[u8; 10] = b"SIF_MAGIC\0";

/// Why a file is not a usable SIF.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("read SIF")]
    Read(#[source] io::Error),
    /// The file could not be written.
    #[error("write SIF")]
    Write(#[source] io::Error),
    /// The table has no free descriptor.
    #[error("the SIF has room for {0} objects, and has as many")]
    Full(u64),
    /// A SIF has only one primary partition.
    #[error("a SIF has one primary partition, not two")]
    SecondPrimary,
    /// Two objects have the same id, or an object has the id 0.
    #[error("the SIF has several objects of id {0}, or one of id 0")]
    DoubleId(u32),
    /// No object has this id.
    #[error("the SIF has no object {0}")]
    NoObject(u32),
    /// The object is not a partition.
    #[error("SIF object {0} is no partition")]
    NotAPartition(u32),
    /// The magic at offset 32 is missing.
    #[error("not a SIF: the magic is missing")]
    Magic,
    /// The version of the format is not supported.
    #[error("SIF version {0:?} is not supported")]
    Version(String),
    /// The file ends before the header does.
    #[error("truncated SIF: the header needs {need} bytes, the file has {have}")]
    TruncatedHeader {
        /// Size of a whole header, in bytes.
        need: u64,
        /// Size of the file, in bytes.
        have: u64,
    },
    /// The descriptor table does not lie within the file.
    #[error(
        "SIF descriptor table of {count} entries at {offset} lies outside the file of {size} bytes"
    )]
    TableOutside {
        /// Number of entries, according to the header.
        count: i64,
        /// Offset of the table, according to the header.
        offset: i64,
        /// Size of the file, in bytes.
        size: u64,
    },
    /// An object does not lie within the file.
    #[error(
        "truncated or corrupt SIF: object {id} is at {offset} with {size} bytes, the file has {have}"
    )]
    ObjectOutside {
        /// The object's id.
        id: u32,
        /// The object's offset, according to the descriptor.
        offset: i64,
        /// The object's size, according to the descriptor.
        size: i64,
        /// Size of the file, in bytes.
        have: u64,
    },
    /// A partition has an unknown file system or kind.
    #[error("SIF object {id}: unknown {what} {value}")]
    UnknownCode {
        /// The object's id.
        id: u32,
        /// The meaning of the code.
        what: &'static str,
        /// The unknown code.
        value: u32,
    },
}

/// A SIF file's header and the descriptors in use.
#[derive(Debug, Clone)]
pub struct Sif {
    /// The global header.
    pub header: Header,
    /// The descriptors in use, in table order.
    pub descriptors: Vec<Descriptor>,
}

/// Whether the first bytes of a file are those of a SIF; 64 bytes are enough.
#[must_use]
pub fn is_sif(start: &[u8]) -> bool {
    start.get(32..42).is_some_and(|bytes| bytes == MAGIC)
}

impl Sif {
    /// Reads the header and the descriptor table of `file`.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read, is not a SIF of version 01, or when the table or an
    /// object in use lies outside the file.
    pub fn read(file: &File) -> Result<Self, Error> {
        let size = file.metadata().map_err(Error::Read)?.len();
        let header = Header::parse(&read_at(file, 0, Header::SIZE as u64, size)?, size)?;
        let mut table = vec![0; header.table_size()];
        file.read_exact_at(&mut table, header.table_offset)
            .map_err(Error::Read)?;
        let descriptors = table
            .chunks_exact(Descriptor::SIZE)
            .filter_map(|entry| Descriptor::parse(entry, size).transpose())
            .collect::<Result<_, _>>()?;
        let sif = Self {
            header,
            descriptors,
        };
        sif.check()?;
        Ok(sif)
    }

    /// Checks that each id, and the primary partition, occurs once. Otherwise a reader that
    /// searches the table in another order would find another object.
    fn check(&self) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for descriptor in &self.descriptors {
            if descriptor.id == 0 || !seen.insert(descriptor.id) {
                return Err(Error::DoubleId(descriptor.id));
            }
        }
        let primaries = self.descriptors.iter().filter(|one| is_primary(&one.data));
        match primaries.count() {
            0 | 1 => Ok(()),
            _ => Err(Error::SecondPrimary),
        }
    }

    /// Returns the partition that holds the container's root, if there is one.
    #[must_use]
    pub fn primary(&self) -> Option<(&Descriptor, Partition)> {
        self.descriptors
            .iter()
            .find_map(|descriptor| match descriptor.data {
                DataType::Partition(partition)
                    if partition.kind == PartitionKind::PrimarySystem =>
                {
                    Some((descriptor, partition))
                }
                _ => None,
            })
    }
}

fn is_primary(data: &DataType) -> bool {
    matches!(data, DataType::Partition(partition) if partition.kind == PartitionKind::PrimarySystem)
}

fn read_at(file: &File, offset: u64, length: u64, size: u64) -> Result<Vec<u8>, Error> {
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(Error::TruncatedHeader {
            need: length,
            have: size,
        });
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)
        .map_err(Error::Read)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
