//! Images with invalid bytes: each call must return soon, with data or an error.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use common::{Random, image, noise};
use squashfs::{Filesystem, Inode, Kind, extract};

/// Number of changed images for each way of making an image.
const CASES: u64 = 1500;

/// Largest number of visited files and of read bytes of an image: a directory may contain itself.
const MOST_FILES: usize = 400;
const MOST_BYTES: usize = 8 << 20;

/// Reads everything that can be reached. Returns the number of files and the number of errors.
fn walk(fs: &Filesystem) -> (usize, usize) {
    let (mut files, mut errors, mut bytes) = (0, 0, 0);
    let mut left: Vec<Inode> = fs.root().into_iter().collect();
    let mut buffer = vec![0; 300_000];
    while let Some(inode) = left.pop() {
        files += 1;
        errors += usize::from(fs.xattr_names(&inode).is_err());
        errors += usize::from(fs.xattr(&inode, b"user.long").is_err());
        match inode.kind {
            Kind::Directory => {
                let Ok(entries) = fs.read_dir(&inode, 0) else {
                    continue;
                };
                for entry in entries.take(MOST_FILES) {
                    let Ok(entry) = entry else {
                        errors += 1;
                        continue;
                    };
                    errors += usize::from(fs.lookup(&inode, &entry.name).is_err());
                    match fs.inode(entry.inode) {
                        Ok(child) if files + left.len() < MOST_FILES => left.push(child),
                        Ok(_) => {}
                        Err(_) => errors += 1,
                    }
                }
                errors += usize::from(fs.lookup(&inode, b"zzz").is_err());
            }
            Kind::File => {
                for at in [
                    0,
                    150_000,
                    inode.size.saturating_sub(10),
                    inode.size / 2,
                    u64::MAX - 5,
                ] {
                    if bytes > MOST_BYTES {
                        break;
                    }
                    match fs.read(&inode, at, &mut buffer) {
                        Ok(filled) => bytes += filled,
                        Err(_) => errors += 1,
                    }
                }
            }
            Kind::Symlink => errors += usize::from(fs.read_link(&inode).is_err()),
            _ => {}
        }
    }
    (files, errors)
}

fn mutate(options: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir_all(source.join("sub/deep")).unwrap();
    fs::write(source.join("big"), noise(1, 300_000)).unwrap();
    fs::write(source.join("sub/small"), noise(2, 5000)).unwrap();
    fs::write(source.join("sub/deep/other"), noise(3, 9000)).unwrap();
    std::os::unix::fs::symlink("sub/small", source.join("link")).unwrap();
    fs::hard_link(source.join("big"), source.join("sub/hard")).unwrap();
    for i in 0..60 {
        fs::write(source.join(format!("sub/deep/file-{i}")), [i; 3]).unwrap();
    }
    for name in ["big", "sub/small"] {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(source.join(name), "user.long", &[b'v'; 300], flags).unwrap();
    }
    let file = place.path().join("image");
    image(&source, &file, &[options, &["-nopad"]].concat());
    let good = fs::read(&file).unwrap();
    let tables = u64::from_le_bytes(good[64..72].try_into().unwrap()) as usize;

    let changed = place.path().join("changed");
    let mut random = Random(0x5eed);
    let (mut opened, mut failed) = (0, 0);
    for case in 0..CASES {
        let mut bytes = good.clone();
        for _ in 0..=random.below(4) {
            // Half of the changes are in the superblock and the tables, where they have the largest
            // effect.
            let at = match case % 4 {
                0 => random.below(96),
                1 | 2 => tables + random.below(bytes.len() - tables),
                _ => random.below(bytes.len()),
            };
            bytes[at] = match random.below(4) {
                0 => 0,
                1 => 0xff,
                2 => bytes[at] ^ (1 << random.below(8)),
                _ => random.next() as u8,
            };
        }
        if case % 50 == 49 {
            bytes.truncate(random.below(bytes.len()));
        }
        File::create(&changed).unwrap().write_all(&bytes).unwrap();
        let began = Instant::now();
        if let Ok(fs) = Filesystem::open(File::open(&changed).unwrap(), 0, None) {
            opened += 1;
            failed += usize::from(walk(&fs).1 > 0);
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "case {case} took {:?}",
            began.elapsed()
        );
    }
    assert!(
        opened > 100 && failed > 50,
        "{opened} opened, {failed} of them with errors"
    );
}

#[test]
fn changed_gzip_images() {
    mutate(&["-comp", "gzip"]);
}

#[test]
fn changed_zstd_images() {
    mutate(&["-comp", "zstd", "-b", "4K"]);
}

#[test]
fn changed_xz_images() {
    mutate(&["-comp", "xz", "-Xbcj", "x86"]);
}

#[test]
fn changed_lz4_images() {
    mutate(&["-comp", "lz4"]);
}

#[test]
fn changed_lzo_images() {
    mutate(&["-comp", "lzo"]);
}

/// Without compression, each changed byte changes a field.
#[test]
fn changed_uncompressed_images() {
    mutate(&["-noI", "-noD", "-noF", "-noX", "-b", "4K"]);
}

#[test]
fn hostile_names_stop_the_extraction() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("NAME1"), b"one").unwrap();
    fs::write(source.join("NAME2"), b"two").unwrap();
    let file = place.path().join("image");
    image(&source, &file, &["-noI", "-noD", "-noF"]);
    let good = fs::read(&file).unwrap();
    let at = good.windows(5).position(|bytes| bytes == b"NAME1").unwrap();
    for (name, message) in [
        (&b"../x1"[..], "directory 0x40: a name that is none"),
        (b"NA/E1", "directory 0x40: a name that is none"),
        (b"NA\0E1", "directory 0x40: a name that is none"),
        (b"NAME2", "extract NAME2: create: File exists (os error 17)"),
    ] {
        let mut bytes = good.clone();
        bytes[at..at + 5].copy_from_slice(name);
        fs::write(&file, &bytes).unwrap();
        let out = place.path().join("out");
        fs::create_dir(&out).unwrap();
        let error = extract(&common::open(&file), &out, false).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let text = [Some(error.to_string()), cause];
        let text: Vec<String> = text.into_iter().flatten().collect();
        assert_eq!(text.join(": "), message);
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_directory_within_itself_stops_the_extraction() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir_all(source.join("SUBDIR")).unwrap();
    let file = place.path().join("image");
    image(&source, &file, &["-noI", "-noD", "-noF"]);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes
        .windows(6)
        .position(|bytes| bytes == b"SUBDIR")
        .unwrap();
    // The offset of the entry's inode is set to that of the root's inode.
    let root = [bytes[32], bytes[33]];
    bytes[at - 8..at - 6].copy_from_slice(&root);
    fs::write(&file, &bytes).unwrap();
    let fs = common::open(&file);
    let deep = fs
        .resolve(std::path::Path::new("SUBDIR/SUBDIR/SUBDIR"))
        .unwrap()
        .unwrap();
    assert_eq!(deep.reference, fs.root().unwrap().reference);
    let out = place.path().join("out");
    fs::create_dir(&out).unwrap();
    let error = extract(&fs, &out, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "extract SUBDIR: the directory has two names"
    );
}

#[test]
fn corrupt_contents_are_an_error_of_their_file_only() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a"), noise(1, 4096)).unwrap();
    fs::write(source.join("b"), noise(2, 4096)).unwrap();
    let file = place.path().join("image");
    image(
        &source,
        &file,
        &["-comp", "gzip", "-b", "4K", "-no-fragments"],
    );
    let mut bytes = fs::read(&file).unwrap();
    // Contents begin after the superblock; the first two bytes are the zlib header.
    bytes[96] ^= 0xff;
    fs::write(&file, &bytes).unwrap();
    let fs = common::open(&file);
    let read = |path: &str| {
        let inode = fs.resolve(std::path::Path::new(path)).unwrap().unwrap();
        fs.read(&inode, 0, &mut [0; 4096])
    };
    let error = read("a").unwrap_err().to_string();
    assert!(error.starts_with("gzip block at 96: "), "{error}");
    assert_eq!(read("b").unwrap(), 4096);
}
