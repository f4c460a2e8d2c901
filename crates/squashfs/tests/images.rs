//! Images made by `mksquashfs`, compared with their source trees.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::{compare, image, noise, open, tree};
use squashfs::{Error, Filesystem, Skipped, extract};

/// Options of `mksquashfs`, for one image each.
const IMAGES: &[&str] = &[
    "-comp gzip",
    "-comp gzip -b 4K",
    "-comp gzip -b 1M -no-fragments",
    "-comp zstd",
    "-comp zstd -b 1M -Xcompression-level 1",
    "-comp zstd -always-use-fragments -b 4K",
    "-comp xz",
    "-comp xz -b 1M",
    "-comp xz -Xbcj x86 -b 4K",
    "-comp lz4",
    "-comp lz4 -Xhc -b 4K",
    "-comp lzo",
    "-comp lzo -Xalgorithm lzo1x_1 -b 4K",
    "-comp lzo -b 1M",
    "-comp gzip -noI -noD -noF -noX",
    "-comp zstd -noI -noX",
    "-comp zstd -noD -no-fragments -no-exports",
    "-comp gzip -no-xattrs",
];

#[test]
fn every_image_reads_and_extracts_as_its_tree() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir(&source).unwrap();
    tree(&source);
    // A program, for xz's branch filter.
    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    fs::write(
        source.join("program"),
        &program[..program.len().min(2 << 20)],
    )
    .unwrap();
    for options in IMAGES {
        let file = place.path().join("image");
        let words: Vec<&str> = options.split(' ').collect();
        image(&source, &file, &words);
        let fs = open(&file);
        assert!(compare(&fs, &source) > 5000, "{options}");
        if options.contains(" -b") {
            // Unpacking 5000 files is the slowest part, and reads in the same way.
            continue;
        }
        let out = place.path().join("out");
        fs::create_dir(&out).unwrap();
        let skipped = extract(&fs, &out, false).unwrap();
        assert_eq!(
            skipped,
            Skipped {
                set_ids: 1,
                ..Skipped::default()
            },
            "{options}"
        );
        same_tree(&source, &out);
        // Needed for an ordinary user, who could not remove modes/closed otherwise. Root could.
        fs::set_permissions(
            out.join("modes/closed"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        fs::remove_dir_all(&out).unwrap();
    }
}

fn same_tree(a: &Path, b: &Path) {
    for entry in fs::read_dir(a).unwrap() {
        let name = entry.unwrap().file_name();
        let (a, b) = (a.join(&name), b.join(&name));
        let (left, right) = (
            fs::symlink_metadata(&a).unwrap(),
            fs::symlink_metadata(&b).unwrap(),
        );
        assert_eq!(left.file_type(), right.file_type(), "{a:?}");
        assert_eq!(left.mtime(), right.mtime(), "{a:?}");
        assert_eq!(left.nlink(), right.nlink(), "{a:?}");
        if left.is_dir() {
            assert_eq!(left.mode(), right.mode(), "{a:?}");
            same_tree(&a, &b);
        } else if left.is_symlink() {
            assert_eq!(fs::read_link(&a).unwrap(), fs::read_link(&b).unwrap());
        } else if left.is_file() {
            assert_eq!(left.mode() & !0o6000, right.mode(), "{a:?}");
            assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap(), "{a:?}");
        }
    }
    if a.join("sparse").exists() {
        assert!(fs::metadata(b.join("sparse")).unwrap().blocks() * 512 < 3 << 20);
    }
}

#[test]
fn paths_are_resolved_within_the_image() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir(&source).unwrap();
    tree(&source);
    let file = place.path().join("image");
    image(&source, &file, &["-comp", "zstd"]);
    let fs = open(&file);
    let content = |path: &str| {
        let inode = fs.resolve(Path::new(path)).unwrap()?;
        Some(common::read_in_parts(&fs, &inode, 4096))
    };
    for (path, expected) in [
        ("small", Some(b"hello\n".to_vec())),
        ("/small", Some(b"hello\n".to_vec())),
        ("/../../small", Some(b"hello\n".to_vec())),
        ("/links/../etc/./conf.d/one", Some(b"1".to_vec())),
        ("/links/absolute", Some(b"1".to_vec())),
        ("/links/above", Some(noise(77, 10_000))),
        ("/links/dangling", None),
        ("/small/x", None),
        ("/small/..", None),
        ("/none", None),
    ] {
        assert_eq!(content(path), expected, "{path}");
    }
    assert!(fs.resolve(Path::new("/")).unwrap().is_some());
    let error = fs.resolve(Path::new("/links/loop")).unwrap_err();
    assert_eq!(error.to_string(), "/links/loop: too many symbolic links");
}

#[test]
fn attributes_are_read_also_out_of_line() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir(&source).unwrap();
    tree(&source);
    let file = place.path().join("image");
    image(&source, &file, &["-comp", "gzip"]);
    let fs = open(&file);
    assert!(fs.has_xattrs());
    let inode = |path| fs.resolve(Path::new(path)).unwrap().unwrap();
    let mut names = fs.xattr_names(&inode("small")).unwrap();
    names.sort();
    assert_eq!(names, [&b"user.empty"[..], b"user.long", b"user.origin"]);
    for (path, name, value) in [
        ("small", "user.origin", Some(b"here".to_vec())),
        ("small", "user.empty", Some(Vec::new())),
        ("small", "user.long", Some(vec![b'v'; 2000])),
        ("sizes/4096", "user.long", Some(vec![b'v'; 2000])),
        ("etc", "user.kind", Some(b"directory".to_vec())),
        ("etc", "user.none", None),
        ("empty", "user.kind", None),
    ] {
        assert_eq!(
            fs.xattr(&inode(path), name.as_bytes()).unwrap(),
            value,
            "{path} {name}"
        );
    }
}

#[test]
fn a_listing_can_be_taken_up_anywhere() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir(&source).unwrap();
    for i in 0..2000 {
        fs::write(source.join(format!("a-rather-long-name-{i:04}")), b"").unwrap();
    }
    let file = place.path().join("image");
    image(&source, &file, &[]);
    let fs = open(&file);
    let root = fs.root().unwrap();
    let all: Vec<_> = fs.read_dir(&root, 0).unwrap().map(Result::unwrap).collect();
    assert_eq!(all.len(), 2000);
    for start in [0, 1, 255, 256, 257, 1999, 2000, 5000] {
        let rest: Vec<_> = fs
            .read_dir(&root, start as u64)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let expected = all.get(start..).unwrap_or_default();
        assert_eq!(rest.len(), expected.len());
        assert!(
            rest.iter()
                .zip(expected)
                .all(|(a, b)| a.name == b.name && a.next == b.next)
        );
    }
}

#[test]
fn a_large_file_is_read_anywhere() {
    // The file has more blocks than one checkpoint spans.
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir(&source).unwrap();
    let contents = noise(5, 14_000_000);
    fs::write(source.join("large"), &contents).unwrap();
    let file = place.path().join("image");
    image(&source, &file, &["-b", "4K", "-comp", "lz4"]);
    let fs = open(&file);
    let inode = fs.resolve(Path::new("large")).unwrap().unwrap();
    let mut random = common::Random(3);
    let mut buffer = vec![0; 10_000];
    for _ in 0..2000 {
        let at = random.below(contents.len() + 5000);
        let filled = fs.read(&inode, at as u64, &mut buffer).unwrap();
        let expected = contents.get(at..).unwrap_or_default();
        let expected = &expected[..expected.len().min(buffer.len())];
        assert!(&buffer[..filled] == expected, "at {at}");
    }
}

#[test]
fn an_image_within_a_file_ends_where_it_is_told_to() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), noise(1, 100_000)).unwrap();
    let file = place.path().join("image");
    image(&source, &file, &["-nopad"]);
    let bytes = fs::read(&file).unwrap();
    let within = place.path().join("within");
    let mut out = File::create(&within).unwrap();
    out.write_all(&[7; 12_345]).unwrap();
    out.write_all(&bytes).unwrap();
    let open = |offset, size| Filesystem::open(File::open(&within).unwrap(), offset, size);
    let fs = open(12_345, None).unwrap();
    assert_eq!(fs.superblock().bytes_used, bytes.len() as u64);
    compare(&fs, &source);
    let size = bytes.len() as u64;
    assert!(open(12_345, Some(size)).is_ok());
    let message = |result: Result<Filesystem, Error>| result.unwrap_err().to_string();
    assert_eq!(
        message(open(12_345, Some(size - 1))),
        format!(
            "truncated: the file system needs {size} bytes, the file has {}",
            size - 1
        )
    );
    assert_eq!(
        message(open(12_345 + size - 50, None)),
        "truncated: the file system needs 96 bytes, the file has 50"
    );
    assert_eq!(
        message(open(0, None)),
        "superblock: no squashfs at offset 0"
    );
    assert!(squashfs::is_squashfs(&bytes));
    assert!(!squashfs::is_squashfs(b"hsq"));
}

#[test]
fn an_empty_image_is_an_empty_directory() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir(&source).unwrap();
    let file = place.path().join("image");
    for options in ["-comp gzip", "-comp zstd -no-exports -no-xattrs"] {
        image(&source, &file, &options.split(' ').collect::<Vec<_>>());
        let fs = open(&file);
        assert_eq!(fs.read_dir(&fs.root().unwrap(), 0).unwrap().count(), 0);
        assert!(fs.lookup(&fs.root().unwrap(), b"x").unwrap().is_none());
    }
}

#[test]
fn extract_writes_to_nothing_that_exists() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("tree");
    fs::create_dir_all(source.join("dir")).unwrap();
    fs::write(source.join("dir/file"), b"new").unwrap();
    let file = place.path().join("image");
    image(&source, &file, &[]);
    let out = place.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::create_dir(place.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", out.join("dir")).unwrap();
    let error = extract(&open(&file), &out, false).unwrap_err();
    assert!(error.to_string() == "extract dir: mkdir", "{error}");
    assert_eq!(
        fs::read_dir(place.path().join("elsewhere"))
            .unwrap()
            .count(),
        0
    );
}
