//! Writing a new SIF, and changing one. The objects are written first, then the table, then the
//! header, so that an interrupted change leaves the old content valid.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::descriptor::{DataType, Descriptor, Link, PartitionKind};
use crate::header::Header;
use crate::{Error, Sif, is_primary};

/// The line that makes a SIF executable.
pub const LAUNCH: &str = "#!/usr/bin/env run-singularity\n";
/// Number of descriptors in a new table, offset of the table and offset of the first object, as in
/// Apptainer.
const DESCRIPTORS: u64 = 48;
const TABLE: u64 = 4096;
const DATA: u64 = TABLE + DESCRIPTORS * Descriptor::SIZE as u64;
/// Alignment of partitions, in bytes: a page, so that they can be mounted.
const PAGE: u64 = 4096;
/// Number of bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// Returns the offset of a partition that follows objects of these sizes in a new SIF.
#[must_use]
pub fn partition_offset(sizes: &[u64]) -> u64 {
    let end = DATA.saturating_add(sizes.iter().sum());
    end.next_multiple_of(PAGE)
}

/// An object to add.
#[derive(Debug, Clone)]
pub struct NewObject {
    /// The object's type.
    pub data: DataType,
    /// The object's group.
    pub group: Option<u32>,
    /// The object or group that this object refers to.
    pub link: Option<Link>,
    /// The object's name. Only its first 127 bytes are kept.
    pub name: String,
}

impl Sif {
    /// Begins an empty SIF. Bytes behind the table are kept, so that they can be added in place.
    /// `launch` is the line that makes the SIF executable: at most 31 bytes and a newline, or
    /// nothing. `created` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be written.
    pub fn create(file: &File, launch: &str, uuid: [u8; 16], created: i64) -> Result<Self, Error> {
        let sif = Self {
            header: Header {
                launch: launch.to_owned(),
                architecture: None,
                uuid,
                created,
                modified: created,
                descriptor_count: DESCRIPTORS,
                table_offset: TABLE,
                free_count: DESCRIPTORS,
                data_offset: DATA,
                data_size: 0,
            },
            descriptors: Vec::new(),
        };
        let length = file.metadata().map_err(Error::Write)?.len();
        file.set_len(length.max(DATA)).map_err(Error::Write)?;
        sif.write_table(file)?;
        Ok(sif)
    }

    /// Appends an object and returns its id. `now` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// Fails when the table is full, there is a primary partition already, `content` cannot be
    /// read, or the file cannot be written.
    pub fn add(
        &mut self,
        file: &File,
        object: NewObject,
        content: &mut impl Read,
        now: i64,
    ) -> Result<u32, Error> {
        let offset = self.next_offset(&object.data)?;
        let size = copy_to(content, file, offset)?;
        self.record(file, object, offset, size, now)
    }

    /// Adds an object that is already in the file: it begins at the offset that [`Sif::add`] would
    /// use, and extends to the end of the file.
    ///
    /// # Errors
    ///
    /// As for [`Sif::add`].
    pub fn add_in_place(&mut self, file: &File, object: NewObject, now: i64) -> Result<u32, Error> {
        let offset = self.next_offset(&object.data)?;
        let length = file.metadata().map_err(Error::Write)?.len();
        self.record(file, object, offset, length.saturating_sub(offset), now)
    }

    fn end(&self) -> u64 {
        let Header {
            data_offset,
            data_size,
            ..
        } = self.header;
        data_offset.saturating_add(data_size)
    }

    fn next_offset(&self, data: &DataType) -> Result<u64, Error> {
        if self.descriptors.len() as u64 >= self.header.descriptor_count {
            return Err(Error::Full(self.header.descriptor_count));
        }
        if is_primary(data) && self.primary().is_some() {
            return Err(Error::SecondPrimary);
        }
        Ok(match data {
            DataType::Partition(_) => self.end().next_multiple_of(PAGE),
            _ => self.end(),
        })
    }

    fn record(
        &mut self,
        file: &File,
        object: NewObject,
        offset: u64,
        size: u64,
        now: i64,
    ) -> Result<u32, Error> {
        let ids = self.descriptors.iter().map(|one| one.id);
        let id = ids.max().unwrap_or(0).saturating_add(1);
        let descriptor = Descriptor {
            id,
            group: object.group,
            link: object.link,
            data: object.data,
            offset,
            size,
            padded_size: offset - self.end() + size,
            created: now,
            modified: now,
            uid: 0,
            gid: 0,
            name: object.name,
            extra: [0; 384],
        };
        self.descriptors.push(descriptor.with_extra());
        self.header.data_size = offset + size - self.header.data_offset;
        self.update_header(now);
        self.write_table(file)?;
        Ok(id)
    }

    /// Removes an object from the table. The object's bytes are overwritten with zeros, or cut off
    /// if they are the last.
    ///
    /// # Errors
    ///
    /// Fails when there is no such object, or the file cannot be written.
    pub fn delete(&mut self, file: &File, id: u32, now: i64) -> Result<(), Error> {
        let position = self.position(id)?;
        let gone = self.descriptors.remove(position);
        let ends = self.descriptors.iter().map(|one| one.offset + one.size);
        let end = ends.max().unwrap_or(self.header.data_offset);
        if gone.offset >= end {
            self.header.data_size = end.saturating_sub(self.header.data_offset);
        }
        self.update_header(now);
        self.write_table(file)?;
        if gone.offset >= end {
            file.set_len(end).map_err(Error::Write)
        } else {
            copy_to(&mut io::repeat(0).take(gone.size), file, gone.offset).map(|_| ())
        }
    }

    /// Makes a partition the primary one. The former primary partition becomes an ordinary one.
    ///
    /// # Errors
    ///
    /// Fails when there is no such partition, or the file cannot be written.
    pub fn set_primary(&mut self, file: &File, id: u32, now: i64) -> Result<(), Error> {
        let position = self.position(id)?;
        let chosen = self.descriptors.get(position);
        if !chosen.is_some_and(|one| matches!(one.data, DataType::Partition(_))) {
            return Err(Error::NotAPartition(id));
        }
        for (place, descriptor) in self.descriptors.iter_mut().enumerate() {
            let DataType::Partition(partition) = &mut descriptor.data else {
                continue;
            };
            if place == position {
                partition.kind = PartitionKind::PrimarySystem;
                descriptor.modified = now;
            } else if partition.kind == PartitionKind::PrimarySystem {
                partition.kind = PartitionKind::System;
                descriptor.modified = now;
            }
        }
        self.update_header(now);
        self.write_table(file)
    }

    fn position(&self, id: u32) -> Result<usize, Error> {
        let mut ids = self.descriptors.iter();
        ids.position(|one| one.id == id).ok_or(Error::NoObject(id))
    }

    /// Makes the header agree with the table.
    fn update_header(&mut self, now: i64) {
        let used = self.descriptors.len() as u64;
        self.header.free_count = self.header.descriptor_count.saturating_sub(used);
        self.header.architecture = self
            .primary()
            .and_then(|(_, partition)| partition.architecture);
        self.header.modified = now;
    }

    fn write_table(&self, file: &File) -> Result<(), Error> {
        let mut table = vec![0; self.header.table_size()];
        for (entry, descriptor) in table
            .chunks_exact_mut(Descriptor::SIZE)
            .zip(&self.descriptors)
        {
            entry.copy_from_slice(&descriptor.encode());
        }
        file.write_all_at(&table, self.header.table_offset)
            .and_then(|()| file.write_all_at(&self.header.encode(), 0))
            .map_err(Error::Write)
    }
}

fn copy_to(content: &mut impl Read, file: &File, offset: u64) -> Result<u64, Error> {
    let mut chunk = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let read = match content.read(&mut chunk) {
            Ok(0) => return Ok(size),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Read(error)),
        };
        file.write_all_at(chunk.get(..read).unwrap_or_default(), offset + size)
            .map_err(Error::Write)?;
        size += read as u64;
    }
}
