//! The global header.

use crate::architecture::Architecture;
use crate::descriptor::Descriptor;
use crate::field::{array_at, i64_at, put, text_at};
use crate::{Error, MAGIC};

const VERSION: &[u8; 3] = b"01\0";

/// The global header, 128 bytes at the start of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The line that makes the file executable, `#!/usr/bin/env run-singularity`.
    pub launch: String,
    /// The architecture of the primary partition.
    pub architecture: Option<Architecture>,
    /// The image's identity.
    pub uuid: [u8; 16],
    /// When the image was made, in seconds since 1970.
    pub created: i64,
    /// When the image was last changed, in seconds since 1970.
    pub modified: i64,
    /// The number of descriptors in the table, used and free.
    pub descriptor_count: u64,
    /// The offset of the descriptor table, in bytes.
    pub table_offset: u64,
    /// The number of free descriptors.
    pub free_count: u64,
    /// The offset of the first object, in bytes.
    pub data_offset: u64,
    /// The size of all objects with their padding, in bytes.
    pub data_size: u64,
}

impl Header {
    /// Size of a header, in bytes.
    pub(crate) const SIZE: usize = 128;

    /// Reads the header of a file of `size` bytes.
    pub(crate) fn parse(bytes: &[u8], size: u64) -> Result<Self, Error> {
        if array_at::<10>(bytes, 32) != *MAGIC {
            return Err(Error::Magic);
        }
        let version = text_at(bytes, 42, 3);
        if version != "01" {
            return Err(Error::Version(version));
        }
        let (count, offset) = (i64_at(bytes, 88), i64_at(bytes, 96));
        let outside = || Error::TableOutside {
            count,
            offset,
            size,
        };
        let descriptor_count = u64::try_from(count).map_err(|_| outside())?;
        let table_offset = u64::try_from(offset).map_err(|_| outside())?;
        descriptor_count
            .checked_mul(Descriptor::SIZE as u64)
            .and_then(|length| table_offset.checked_add(length))
            .filter(|end| *end <= size)
            .ok_or_else(outside)?;
        let number = |at| u64::try_from(i64_at(bytes, at)).unwrap_or(0);
        Ok(Self {
            launch: text_at(bytes, 0, 32),
            architecture: Architecture::from_code(array_at(bytes, 45)),
            uuid: array_at(bytes, 48),
            created: i64_at(bytes, 64),
            modified: i64_at(bytes, 72),
            descriptor_count,
            table_offset,
            free_count: number(80),
            data_offset: number(112),
            data_size: number(120),
        })
    }

    /// Writes the header.
    pub(crate) fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX).to_le_bytes();
        put(&mut bytes, 0, self.launch.as_bytes());
        put(&mut bytes, 32, MAGIC);
        put(&mut bytes, 42, VERSION);
        put(&mut bytes, 45, &Architecture::code_of(self.architecture));
        put(&mut bytes, 48, &self.uuid);
        put(&mut bytes, 64, &self.created.to_le_bytes());
        put(&mut bytes, 72, &self.modified.to_le_bytes());
        put(&mut bytes, 80, &number(self.free_count));
        put(&mut bytes, 88, &number(self.descriptor_count));
        put(&mut bytes, 96, &number(self.table_offset));
        put(&mut bytes, 104, &number(self.table_size() as u64));
        put(&mut bytes, 112, &number(self.data_offset));
        put(&mut bytes, 120, &number(self.data_size));
        bytes
    }

    /// Returns the signed parts of the header: not the times, and nothing that depends on the
    /// positions of objects.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        let bytes = self.encode();
        let parts = [bytes.get(..45), bytes.get(48..64)];
        parts.into_iter().flatten().flatten().copied().collect()
    }

    /// Returns the size of the descriptor table in bytes. `parse` has checked that the table lies
    /// within the file.
    pub(crate) fn table_size(&self) -> usize {
        usize::try_from(self.descriptor_count).unwrap_or(0) * Descriptor::SIZE
    }
}
