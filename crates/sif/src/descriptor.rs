//! Descriptors: what an object is, and where it lies.

use crate::Error;
use crate::architecture::Architecture;
use crate::field::{array_at, i64_at, text_at, u32_at};

/// One object of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The object's id, from 1.
    pub id: u32,
    /// The group it belongs to, if any.
    pub group: Option<u32>,
    /// What it is.
    pub data: DataType,
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Its name.
    pub name: String,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// A file system.
    Partition(Partition),
    /// Anything else, by its code (`0x4001` is a definition file, `0x4005` a signature, …).
    Other(u32),
}

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its file system.
    pub file_system: FileSystem,
    /// What it is for.
    pub kind: PartitionKind,
    /// The architecture of the programs in it.
    pub architecture: Option<Architecture>,
}

/// File systems of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// squashfs, the usual one.
    Squashfs,
    /// ext3, of writable overlays.
    Ext3,
    /// An archive.
    Archive,
    /// No file system.
    Raw,
    /// squashfs within LUKS.
    EncryptedSquashfs,
    /// squashfs within gocryptfs, Apptainer's addition.
    GocryptfsSquashfs,
}

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionKind {
    /// A system partition that is not started from.
    System,
    /// The container's root.
    PrimarySystem,
    /// Data.
    Data,
    /// A writable overlay.
    Overlay,
}

/// A group or link is the number with these bits set; the bits alone mean none.
const GROUP_MASK: u32 = 0xf000_0000;
const PARTITION: u32 = 0x4004;

impl Descriptor {
    /// Bytes of a descriptor.
    pub(crate) const SIZE: usize = 585;

    /// Reads a table entry of a file of `size` bytes; `None` for a free one.
    pub(crate) fn parse(entry: &[u8], have: u64) -> Result<Option<Self>, Error> {
        if entry.get(4).is_none_or(|used| *used == 0) {
            return Ok(None);
        }
        let id = u32_at(entry, 5);
        let (offset, size) = (i64_at(entry, 17), i64_at(entry, 25));
        let inside = u64::try_from(offset)
            .ok()
            .zip(u64::try_from(size).ok())
            .filter(|(offset, size)| offset.checked_add(*size).is_some_and(|end| end <= have));
        let (offset, size) = inside.ok_or(Error::ObjectOutside {
            id,
            offset,
            size,
            have,
        })?;
        let group = u32_at(entry, 9) & !GROUP_MASK;
        let data = match u32_at(entry, 0) {
            PARTITION => DataType::Partition(Partition::parse(entry, id)?),
            other => DataType::Other(other),
        };
        Ok(Some(Self {
            id,
            group: (group != 0).then_some(group),
            data,
            offset,
            size,
            name: text_at(entry, 73, 128),
        }))
    }
}

impl Partition {
    fn parse(entry: &[u8], id: u32) -> Result<Self, Error> {
        let unknown = |what, value| Error::UnknownCode { id, what, value };
        let file_system = match u32_at(entry, 201) {
            1 => FileSystem::Squashfs,
            2 => FileSystem::Ext3,
            3 => FileSystem::Archive,
            4 => FileSystem::Raw,
            5 => FileSystem::EncryptedSquashfs,
            6 => FileSystem::GocryptfsSquashfs,
            value => return Err(unknown("file system", value)),
        };
        let kind = match u32_at(entry, 205) {
            1 => PartitionKind::System,
            2 => PartitionKind::PrimarySystem,
            3 => PartitionKind::Data,
            4 => PartitionKind::Overlay,
            value => return Err(unknown("partition kind", value)),
        };
        let architecture = Architecture::from_code(array_at(entry, 209));
        Ok(Self {
            file_system,
            kind,
            architecture,
        })
    }
}
