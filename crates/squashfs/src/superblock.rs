//! The superblock: the parameters of an image, checked before anything else is read.

use std::array;

use crate::compression::Compression;
use crate::error::Error;
use crate::format::InodeRef;

/// `SQUASHFS_MAGIC`, "hsqs", little-endian.
const MAGIC: [u8; 4] = *b"hsqs";

/// Size of the superblock in bytes.
pub(crate) const SIZE: usize = 96;

/// Marks a table that the image does not have (`SQUASHFS_INVALID_BLK`).
const ABSENT: u64 = u64::MAX;

/// `COMP_OPT`: a metadata block of compressor options follows the superblock.
const FLAG_COMPRESSOR_OPTIONS: u16 = 1 << 10;

/// Size of the smallest inode (a fifo), in bytes. It bounds the inode count by the size of the
/// inode table.
const SMALLEST_INODE: u64 = 20;

/// Largest expansion of a metadata block: 3 stored bytes (header and one) become 8 KiB.
const METADATA_EXPANSION: u64 = 8192 / 3;

/// Returns whether `header`, the first bytes of a file or partition, begins a squashfs image.
#[must_use]
pub fn is_squashfs(header: &[u8]) -> bool {
    header.starts_with(&MAGIC)
}

/// The checked superblock. Positions are bytes from the start of the file system.
#[derive(Debug, Clone)]
pub struct Superblock {
    /// Number of inodes.
    pub inode_count: u32,
    /// When the image was made, in seconds since 1970.
    pub modified: u32,
    /// Size of a block of file contents, in bytes.
    pub block_size: u32,
    /// Number of fragment blocks.
    pub fragment_count: u32,
    /// The compressor of all blocks.
    pub compression: Compression,
    /// Flags as stored (`SQUASHFS_NOI` and others). None changes how an image is read.
    pub flags: u16,
    /// Number of different user and group ids.
    pub id_count: u16,
    /// The root directory's inode.
    pub root: InodeRef,
    /// Size of the file system in bytes, without padding.
    pub bytes_used: u64,
    pub(crate) id_table: u64,
    pub(crate) xattr_table: Option<u64>,
    pub(crate) inode_table: u64,
    pub(crate) directory_table: u64,
    pub(crate) fragment_table: Option<u64>,
    pub(crate) export_table: Option<u64>,
}

impl Superblock {
    /// Checks the superblock's fields against each other.
    ///
    /// `offset` is only for the error message; `available` is the number of bytes in the source.
    pub(crate) fn parse(raw: &[u8; SIZE], offset: u64, available: u64) -> Result<Self, Error> {
        if !is_squashfs(raw) {
            return Err(Error::NotSquashfs { offset });
        }
        let (major, minor) = (u16_at(raw, 28), u16_at(raw, 30));
        if (major, minor) != (4, 0) {
            return Err(Error::Version { major, minor });
        }
        let block_size = u32_at(raw, 12);
        if !block_size.is_power_of_two() || !(4096..=1 << 20).contains(&block_size) {
            return Err(Error::BlockSize(block_size));
        }
        let log = u16_at(raw, 22);
        if u32::from(log) != block_size.trailing_zeros() {
            return Err(Error::BlockLog {
                size: block_size,
                log,
            });
        }
        let compression = Compression::from_id(u16_at(raw, 20))?;
        let bytes_used = u64_at(raw, 40);
        if bytes_used > available {
            return Err(Error::Truncated {
                needed: bytes_used,
                available,
            });
        }
        let present = |at| Some(u64_at(raw, at)).filter(|&start| start != ABSENT);
        let fragment_count = u32_at(raw, 16);
        let superblock = Self {
            inode_count: u32_at(raw, 4),
            modified: u32_at(raw, 8),
            block_size,
            fragment_count,
            compression,
            flags: u16_at(raw, 24),
            id_count: u16_at(raw, 26),
            root: InodeRef::from_raw(u64_at(raw, 32)),
            bytes_used,
            id_table: u64_at(raw, 48),
            xattr_table: present(56),
            inode_table: u64_at(raw, 64),
            directory_table: u64_at(raw, 72),
            // Some writers leave any value here when there are no fragments, so the value must not
            // be used.
            fragment_table: present(80).filter(|_| fragment_count > 0),
            export_table: present(88),
        };
        superblock.check_order()?;
        superblock.check_counts()?;
        Ok(superblock)
    }

    /// Returns whether a metadata block of compressor options follows the superblock.
    pub(crate) fn has_compressor_options(&self) -> bool {
        self.flags & FLAG_COMPRESSOR_OPTIONS != 0
    }

    /// Checks that the tables lie in the order that every writer (and the kernel) relies on.
    fn check_order(&self) -> Result<(), Error> {
        let tables = [
            ("inode table", Some(self.inode_table)),
            ("directory table", Some(self.directory_table)),
            ("fragment table", self.fragment_table),
            ("export table", self.export_table),
            ("id table", Some(self.id_table)),
            ("extended attribute table", self.xattr_table),
        ];
        let mut limit = self.bytes_used;
        for (table, start) in tables.into_iter().rev() {
            let Some(start) = start else { continue };
            // Only the directory table may be empty, if the root directory is.
            let empty = start == limit && table == "directory table";
            if start > limit || (start == limit && !empty) {
                return Err(Error::TableBounds {
                    table,
                    start,
                    limit,
                });
            }
            limit = start;
        }
        if self.inode_table < SIZE as u64 {
            return Err(Error::TableBounds {
                table: "superblock",
                start: 0,
                limit: self.inode_table,
            });
        }
        Ok(())
    }

    /// Checks the counts against the largest numbers that the tables could hold.
    fn check_counts(&self) -> Result<(), Error> {
        let stored = self.directory_table.saturating_sub(self.inode_table);
        let inodes = stored.saturating_mul(METADATA_EXPANSION) / SMALLEST_INODE;
        if self.inode_count == 0 || u64::from(self.inode_count) > inodes {
            return Err(Error::Count {
                what: "inodes",
                count: self.inode_count.into(),
            });
        }
        // Eight bytes of index stand for 512 fragments of 16 bytes each.
        let index = u64::from(self.fragment_count)
            .div_ceil(512)
            .saturating_mul(8);
        let fits = |start| index <= self.bytes_used.saturating_sub(start);
        if self.fragment_count > 0 && !self.fragment_table.is_some_and(fits) {
            return Err(Error::Count {
                what: "fragments",
                count: self.fragment_count.into(),
            });
        }
        if self.id_count == 0 {
            return Err(Error::Count {
                what: "ids",
                count: 0,
            });
        }
        Ok(())
    }
}

// All offsets below are constants less than `SIZE`, so the default is never used.
fn bytes_at<const N: usize>(raw: &[u8; SIZE], at: usize) -> [u8; N] {
    array::from_fn(|i| raw.get(at.saturating_add(i)).copied().unwrap_or_default())
}

fn u16_at(raw: &[u8; SIZE], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(raw, at))
}

fn u32_at(raw: &[u8; SIZE], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(raw, at))
}

fn u64_at(raw: &[u8; SIZE], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(raw, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> [u8; SIZE] {
        let mut raw = [0; SIZE];
        let mut put = |at: usize, bytes: &[u8]| raw[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(4, &3u32.to_le_bytes());
        put(12, &131_072u32.to_le_bytes());
        put(20, &1u16.to_le_bytes());
        put(22, &17u16.to_le_bytes());
        put(26, &1u16.to_le_bytes());
        put(28, &4u16.to_le_bytes());
        put(40, &1000u64.to_le_bytes());
        put(48, &900u64.to_le_bytes());
        put(56, &ABSENT.to_le_bytes());
        put(64, &200u64.to_le_bytes());
        put(72, &400u64.to_le_bytes());
        put(80, &ABSENT.to_le_bytes());
        put(88, &ABSENT.to_le_bytes());
        raw
    }

    #[test]
    fn a_valid_superblock_is_accepted() {
        let superblock = Superblock::parse(&valid(), 0, 1000).unwrap();
        assert_eq!(superblock.block_size, 131_072);
        assert_eq!(superblock.compression, Compression::Gzip);
    }

    #[test]
    fn each_wrong_field_is_named() {
        let cases: &[(usize, &[u8], &str)] = &[
            (0, b"sqsh", "superblock: no squashfs at offset 7"),
            (28, &[3], "superblock: version 3.0 is not 4.0"),
            (30, &[1], "superblock: version 4.1 is not 4.0"),
            (
                12,
                &[3, 0, 0, 0],
                "superblock: block size 3 is not a power of two between 4 KiB and 1 MiB",
            ),
            (
                22,
                &[16],
                "superblock: block size 131072 is not 2 to the power of 16",
            ),
            (
                20,
                &[2],
                "superblock: compressor lzma (legacy) is not supported",
            ),
            (20, &[9], "superblock: unknown compressor 9"),
            (
                41,
                &[5],
                "truncated: the file system needs 1512 bytes, the file has 1000",
            ),
            (
                48,
                &[0, 8],
                "superblock: the id table at 2048 does not fit before 1000",
            ),
            (
                64,
                &[90, 0],
                "superblock: the superblock at 0 does not fit before 90",
            ),
            (
                64,
                &[144, 1],
                "superblock: the inode table at 400 does not fit before 400",
            ),
            (
                4,
                &[0, 0, 0, 9],
                "superblock: 150994944 inodes are more than the image holds",
            ),
            (
                16,
                &[1],
                "superblock: 1 fragments are more than the image holds",
            ),
            (26, &[0], "superblock: 0 ids are more than the image holds"),
        ];
        for (at, bytes, message) in cases {
            let mut raw = valid();
            raw[*at..at + bytes.len()].copy_from_slice(bytes);
            let error = Superblock::parse(&raw, 7, 1000).unwrap_err();
            assert_eq!(error.to_string(), *message);
        }
    }
}
