//! Tests of the reader: files made byte by byte, and random bytes.

use std::fs::File;
use std::io::Write;

use super::*;

/// Makes a SIF with a squashfs primary partition of `size` bytes at 4096 + 28080, and applies
/// `change`.
fn image(size: i64, change: impl Fn(&mut Vec<u8>)) -> File {
    let mut bytes = vec![0; 4096 + 48 * Descriptor::SIZE + 64];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"#!/usr/bin/env run-singularity\n");
    put(32, MAGIC);
    put(42, b"01\0");
    put(45, b"02\0");
    put(88, &48i64.to_le_bytes());
    put(96, &4096i64.to_le_bytes());
    let entry = 4096;
    put(entry, &0x4004u32.to_le_bytes());
    put(entry + 4, &[1]);
    put(entry + 5, &1u32.to_le_bytes());
    put(entry + 9, &0xf000_0001u32.to_le_bytes());
    put(entry + 17, &(4096i64 + 28080).to_le_bytes());
    put(entry + 25, &size.to_le_bytes());
    put(entry + 73, b"squashfs-1.squashfs");
    put(entry + 201, &1u32.to_le_bytes());
    put(entry + 205, &2u32.to_le_bytes());
    put(entry + 209, b"02\0");
    change(&mut bytes);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file
}

#[test]
fn reads_what_was_written() {
    let sif = Sif::read(&image(64, |_| ())).unwrap();
    assert_eq!(sif.header.architecture.unwrap().name(), "amd64");
    let (descriptor, partition) = sif.primary().unwrap();
    assert_eq!((descriptor.id, descriptor.group), (1, Some(1)));
    assert_eq!((descriptor.offset, descriptor.size), (32176, 64));
    assert_eq!(descriptor.name, "squashfs-1.squashfs");
    assert_eq!(partition.file_system, FileSystem::Squashfs);
}

#[test]
fn refuses_what_lies_outside() {
    type Change = fn(&mut Vec<u8>);
    let cases: &[(&str, i64, Change)] = &[
        ("object 1 is at 32176 with 65 bytes", 65, |_| ()),
        ("object 1", -1, |_| ()),
        ("object 1", i64::MAX, |_| ()),
        ("descriptor table", 64, |bytes| {
            bytes[88..96].copy_from_slice(&i64::MAX.to_le_bytes());
        }),
        ("descriptor table", 64, |bytes| {
            bytes[96..104].copy_from_slice(&(-5i64).to_le_bytes());
        }),
        ("descriptor table", 64, |bytes| bytes.truncate(5000)),
        ("header needs 128 bytes", 64, |bytes| bytes.truncate(100)),
        ("magic", 64, |bytes| bytes[33] = b'x'),
        ("version \"02\"", 64, |bytes| bytes[43] = b'2'),
        ("unknown file system 9", 64, |bytes| bytes[4096 + 201] = 9),
    ];
    for (message, size, change) in cases {
        let error = Sif::read(&image(*size, change)).unwrap_err().to_string();
        assert!(
            error.contains(message),
            "{error:?} should mention {message:?}"
        );
    }
}

#[test]
fn a_free_descriptor_is_passed_over() {
    let sif = Sif::read(&image(64, |bytes| bytes[4096 + 4] = 0)).unwrap();
    assert!(sif.descriptors.is_empty() && sif.primary().is_none());
}

proptest::proptest! {
    #[test]
    fn noise_never_panics(changes in proptest::collection::vec((0usize..5000, 0u8..), 1..40)) {
        let _ = Sif::read(&image(64, |bytes| {
            for (at, value) in &changes {
                bytes[*at] = *value;
            }
        }));
    }
}

fn written() -> (File, Sif) {
    let file = tempfile::tempfile().unwrap();
    let mut sif = Sif::create(&file, LAUNCH, [7; 16], 1000).unwrap();
    let object = |data, name: &str| NewObject {
        data,
        group: Some(1),
        link: None,
        name: name.to_owned(),
    };
    let partition = DataType::Partition(Partition {
        file_system: FileSystem::Squashfs,
        kind: PartitionKind::PrimarySystem,
        architecture: Architecture::from_name("arm64"),
    });
    let definition = object(DataType::Definition, "Def.FILE");
    assert_eq!(
        sif.add(&file, definition, &mut &b"from"[..], 1001).unwrap(),
        1
    );
    let root = object(partition, "root");
    assert_eq!(sif.add(&file, root, &mut &[9; 5000][..], 1002).unwrap(), 2);
    (file, sif)
}

#[test]
fn what_is_written_is_read_again() {
    let (file, sif) = written();
    let read = Sif::read(&file).unwrap();
    assert_eq!(read.descriptors, sif.descriptors);
    assert_eq!(read.header, sif.header);
    let (root, _) = read.primary().unwrap();
    assert_eq!((root.offset, root.size), (32768, 5000), "at a page");
    assert_eq!(root.padded_size, 32768 - 32180 + 5000);
    assert_eq!(read.header.architecture.unwrap().name(), "arm64");
    assert_eq!((read.header.free_count, read.header.modified), (46, 1002));
    assert_eq!(file.metadata().unwrap().len(), 32768 + 5000);
}

#[test]
fn objects_come_and_go() {
    let (file, mut sif) = written();
    let second = NewObject {
        data: sif.descriptors[1].data,
        group: None,
        link: Some(Link::Group(1)),
        name: String::new(),
    };
    let error = sif
        .add(&file, second.clone(), &mut io::empty(), 0)
        .unwrap_err();
    assert!(error.to_string().contains("one primary partition"));
    sif.delete(&file, 2, 1003).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 32180, "the last is cut off");
    let id = sif.add(&file, second, &mut &b"new"[..], 1004).unwrap();
    assert_eq!(id, 2);
    sif.delete(&file, 1, 1005).unwrap();
    let read = Sif::read(&file).unwrap();
    assert_eq!(read.descriptors, sif.descriptors);
    assert_eq!(read.descriptors[0].link, Some(Link::Group(1)));
    let mut zeroed = [1; 4];
    file.read_exact_at(&mut zeroed, 32176).unwrap();
    assert_eq!(zeroed, [0; 4]);
    assert!(sif.delete(&file, 9, 0).is_err());
}
