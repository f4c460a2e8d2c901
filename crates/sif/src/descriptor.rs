//! Descriptors: the type, position and size of an object.

use crate::Error;
use crate::architecture::Architecture;
use crate::field::{array_at, i64_at, put, text_at, u32_at};

/// One object of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The object's id, from 1.
    pub id: u32,
    /// The object's group, if it has one.
    pub group: Option<u32>,
    /// The object or group that this object refers to, if any. A signature names what it signs.
    pub link: Option<Link>,
    /// The object's type.
    pub data: DataType,
    /// The object's offset from the start of the file, in bytes.
    pub offset: u64,
    /// The object's length, in bytes.
    pub size: u64,
    /// The object's length with the padding in front of it, in bytes.
    pub padded_size: u64,
    /// When the object was added, in seconds since 1970.
    pub created: i64,
    /// When the object was last changed, in seconds since 1970.
    pub modified: i64,
    /// The user id of the owner. It has been unused since the first versions.
    pub uid: i64,
    /// The group id of the owner. It is unused too.
    pub gid: i64,
    /// The object's name.
    pub name: String,
    /// The fields of the object's type, as they are in the file.
    pub(crate) extra: Extra,
}

/// The bytes at the end of a descriptor.
pub(crate) type Extra = [u8; 384];

/// The object or group that an object refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Another object.
    Object(u32),
    /// A group.
    Group(u32),
}

/// The type of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// A definition file.
    Definition,
    /// Environment variables.
    Environment,
    /// Labels, as JSON.
    Labels,
    /// A file system.
    Partition(Partition),
    /// A signature.
    Signature(Signature),
    /// JSON.
    GenericJson,
    /// Arbitrary data.
    Generic,
    /// An encrypted or signed message.
    CryptoMessage,
    /// A list of the software in the container.
    Sbom,
    /// The index of an OCI image.
    OciRootIndex,
    /// A blob of an OCI image.
    OciBlob,
    /// An unknown type, by its code.
    Unknown(u32),
}

/// The content of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// The partition's file system.
    pub file_system: FileSystem,
    /// The partition's purpose.
    pub kind: PartitionKind,
    /// The architecture of the programs in the partition.
    pub architecture: Option<Architecture>,
}

/// How a signature was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The code of the hash algorithm: 1 is SHA-256.
    pub hash: u32,
    /// The fingerprint of the key.
    pub fingerprint: [u8; 20],
}

/// File systems of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// squashfs, the usual one.
    Squashfs,
    /// ext3, used for writable overlays.
    Ext3,
    /// An archive.
    Archive,
    /// No file system.
    Raw,
    /// squashfs in LUKS.
    EncryptedSquashfs,
    /// squashfs in gocryptfs, an addition of Apptainer.
    GocryptfsSquashfs,
}

/// The purpose of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionKind {
    /// A system partition that is not the container's root.
    System,
    /// The container's root file system.
    PrimarySystem,
    /// Data.
    Data,
    /// A writable overlay.
    Overlay,
}

/// A group, or a link to a group, is its number with these bits set. The bits alone mean no group.
const GROUP_MASK: u32 = 0xf000_0000;

impl DataType {
    /// Returns the format's code of this type.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Definition => 0x4001,
            Self::Environment => 0x4002,
            Self::Labels => 0x4003,
            Self::Partition(_) => 0x4004,
            Self::Signature(_) => 0x4005,
            Self::GenericJson => 0x4006,
            Self::Generic => 0x4007,
            Self::CryptoMessage => 0x4008,
            Self::Sbom => 0x4009,
            Self::OciRootIndex => 0x400a,
            Self::OciBlob => 0x400b,
            Self::Unknown(code) => code,
        }
    }

    fn parse(entry: &[u8], id: u32) -> Result<Self, Error> {
        Ok(match u32_at(entry, 0) {
            0x4001 => Self::Definition,
            0x4002 => Self::Environment,
            0x4003 => Self::Labels,
            0x4004 => Self::Partition(Partition::parse(entry, id)?),
            0x4005 => Self::Signature(Signature {
                hash: u32_at(entry, 201),
                fingerprint: array_at(entry, 205),
            }),
            0x4006 => Self::GenericJson,
            0x4007 => Self::Generic,
            0x4008 => Self::CryptoMessage,
            0x4009 => Self::Sbom,
            0x400a => Self::OciRootIndex,
            0x400b => Self::OciBlob,
            code => Self::Unknown(code),
        })
    }

    /// Writes the fields of the type.
    fn put_extra(self, entry: &mut [u8]) {
        match self {
            Self::Partition(partition) => {
                put(entry, 201, &partition.file_system.code().to_le_bytes());
                put(entry, 205, &partition.kind.code().to_le_bytes());
                put(entry, 209, &Architecture::code_of(partition.architecture));
            }
            Self::Signature(signature) => {
                put(entry, 201, &signature.hash.to_le_bytes());
                put(entry, 205, &signature.fingerprint);
            }
            _ => {}
        }
    }
}

impl Descriptor {
    /// Size of a descriptor, in bytes.
    pub(crate) const SIZE: usize = 585;

    /// Reads a table entry of a file of `have` bytes. Returns `None` for a free entry.
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
        Ok(Some(Self {
            id,
            group: (group != 0).then_some(group),
            link: Link::parse(u32_at(entry, 13)),
            data: DataType::parse(entry, id)?,
            offset,
            size,
            padded_size: u64::try_from(i64_at(entry, 33)).unwrap_or(size),
            created: i64_at(entry, 41),
            modified: i64_at(entry, 49),
            uid: i64_at(entry, 57),
            gid: i64_at(entry, 65),
            name: text_at(entry, 73, 128),
            extra: array_at(entry, 201),
        }))
    }

    /// Makes `extra` agree with the fields of the type.
    pub(crate) fn with_extra(mut self) -> Self {
        self.extra = array_at(&self.encode(), 201);
        self
    }

    /// Returns the signed parts of the descriptor. The object's offset and the time of its last
    /// change are not signed. `relative_id` is the id counted from the lowest id of the group.
    #[must_use]
    pub fn signed_bytes(&self, relative_id: u32) -> Vec<u8> {
        let entry = self.encode();
        let relative_id = relative_id.to_le_bytes();
        let parts = [
            entry.get(..5),
            Some(relative_id.as_slice()),
            entry.get(13..17),
            entry.get(25..33),
            entry.get(41..49),
            entry.get(57..),
        ];
        parts.into_iter().flatten().flatten().copied().collect()
    }

    /// Writes the table entry.
    pub(crate) fn encode(&self) -> [u8; Self::SIZE] {
        let mut entry = [0; Self::SIZE];
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX).to_le_bytes();
        put(&mut entry, 0, &self.data.code().to_le_bytes());
        put(&mut entry, 4, &[1]);
        put(&mut entry, 5, &self.id.to_le_bytes());
        let group = GROUP_MASK | self.group.unwrap_or(0);
        put(&mut entry, 9, &group.to_le_bytes());
        let link = self.link.map_or(0, Link::code);
        put(&mut entry, 13, &link.to_le_bytes());
        put(&mut entry, 17, &number(self.offset));
        put(&mut entry, 25, &number(self.size));
        put(&mut entry, 33, &number(self.padded_size));
        put(&mut entry, 41, &self.created.to_le_bytes());
        put(&mut entry, 49, &self.modified.to_le_bytes());
        put(&mut entry, 57, &self.uid.to_le_bytes());
        put(&mut entry, 65, &self.gid.to_le_bytes());
        // The last byte of the name field is the terminating NUL.
        let name = self.name.as_bytes();
        put(&mut entry, 73, name.get(..127).unwrap_or(name));
        put(&mut entry, 201, &self.extra);
        self.data.put_extra(&mut entry);
        entry
    }
}

impl Link {
    fn parse(code: u32) -> Option<Self> {
        match (code & GROUP_MASK, code & !GROUP_MASK) {
            (_, 0) => None,
            (0, object) => Some(Self::Object(object)),
            (_, group) => Some(Self::Group(group)),
        }
    }

    fn code(self) -> u32 {
        match self {
            Self::Object(object) => object,
            Self::Group(group) => GROUP_MASK | group,
        }
    }
}

impl Partition {
    fn parse(entry: &[u8], id: u32) -> Result<Self, Error> {
        let unknown = |what, value| Error::UnknownCode { id, what, value };
        let (file_system, kind) = (u32_at(entry, 201), u32_at(entry, 205));
        Ok(Self {
            file_system: FileSystem::from_code(file_system)
                .ok_or_else(|| unknown("file system", file_system))?,
            kind: PartitionKind::from_code(kind).ok_or_else(|| unknown("partition kind", kind))?,
            architecture: Architecture::from_code(array_at(entry, 209)),
        })
    }
}

impl FileSystem {
    const ALL: [Self; 6] = [
        Self::Squashfs,
        Self::Ext3,
        Self::Archive,
        Self::Raw,
        Self::EncryptedSquashfs,
        Self::GocryptfsSquashfs,
    ];

    /// Returns the file system with this code.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.code() == code)
    }

    /// Returns the format's code of this file system.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Squashfs => 1,
            Self::Ext3 => 2,
            Self::Archive => 3,
            Self::Raw => 4,
            Self::EncryptedSquashfs => 5,
            Self::GocryptfsSquashfs => 6,
        }
    }
}

impl PartitionKind {
    const ALL: [Self; 4] = [Self::System, Self::PrimarySystem, Self::Data, Self::Overlay];

    /// Returns the kind with this code.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.code() == code)
    }

    /// Returns the format's code of this kind.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::System => 1,
            Self::PrimarySystem => 2,
            Self::Data => 3,
            Self::Overlay => 4,
        }
    }
}
