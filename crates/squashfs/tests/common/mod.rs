//! Source trees, images that `mksquashfs` makes of them, and comparison of both.

#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use squashfs::{Filesystem, Inode, Kind};

/// Returns bytes that compress somewhat. The same `seed` gives the same bytes.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        let value = random.next();
        if value.is_multiple_of(3) {
            bytes.extend(std::iter::repeat_n(value as u8, 40));
        } else {
            bytes.extend(value.to_le_bytes());
        }
    }
    bytes.truncate(length);
    bytes
}

/// A small generator of random numbers (xorshift64*), so that tests can be repeated exactly.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Makes a tree with every kind of file that needs no privilege.
pub fn tree(root: &Path) {
    let make = |name: &str, contents: &[u8]| make(root, name, contents);
    make("empty", b"");
    make("small", b"hello\n");
    make("etc/conf.d/one", b"1");
    for (i, size) in [
        1,
        4095,
        4096,
        4097,
        131_071,
        131_072,
        131_073,
        1 << 20,
        3_000_001,
    ]
    .into_iter()
    .enumerate()
    {
        make(&format!("sizes/{size}"), &noise(i as u64 + 1, size));
    }
    for i in 0..40 {
        make(&format!("fragments/{i}"), &noise(i + 100, 700 + i as usize));
    }
    put_modes(root);
    put_sparse(root);
    put_links(root);
    make(&format!("names/{}", "n".repeat(255)), b"long");
    make("names/with space and \u{e4}", b"odd");
    fs::write(
        root.join("names").join(OsStr::from_bytes(b"\xff\xfe")),
        b"bytes",
    )
    .unwrap();
    for i in 0..5000 {
        make(
            &format!("many/entry-number-{i:05}"),
            if i % 7 == 0 { b"seven" } else { b"" },
        );
    }
    let status = Command::new("mkfifo")
        .arg(root.join("fifo"))
        .status()
        .unwrap();
    assert!(status.success());
    set_xattrs(root);
    let old = fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_007));
    File::open(root.join("small"))
        .unwrap()
        .set_times(old)
        .unwrap();
}

fn make(root: &Path, name: &str, contents: &[u8]) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, contents).unwrap();
    path
}

fn put_modes(root: &Path) {
    fs::set_permissions(
        make(root, "modes/setuid", b"x"),
        fs::Permissions::from_mode(0o4755),
    )
    .unwrap();
    fs::set_permissions(
        make(root, "modes/secret", b"x"),
        fs::Permissions::from_mode(0o400),
    )
    .unwrap();
    fs::create_dir(root.join("modes/sticky")).unwrap();
    fs::set_permissions(
        root.join("modes/sticky"),
        fs::Permissions::from_mode(0o1777),
    )
    .unwrap();
    fs::create_dir(root.join("modes/closed")).unwrap();
    fs::write(root.join("modes/closed/inside"), b"in").unwrap();
    fs::set_permissions(root.join("modes/closed"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::create_dir(root.join("void")).unwrap();
}

fn put_sparse(root: &Path) {
    let mut sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all(b"begin").unwrap();
    sparse.seek(SeekFrom::Start(5_000_000)).unwrap();
    sparse.write_all(b"middle").unwrap();
    sparse.set_len(9_000_000).unwrap();
}

fn put_links(root: &Path) {
    let original = make(root, "links/original", &noise(77, 10_000));
    fs::hard_link(&original, root.join("links/hard")).unwrap();
    symlink("original", root.join("links/soft")).unwrap();
    symlink("/etc/conf.d/one", root.join("links/absolute")).unwrap();
    symlink("../../../../links/soft", root.join("links/above")).unwrap();
    symlink("loop", root.join("links/loop")).unwrap();
    symlink("nowhere", root.join("links/dangling")).unwrap();
    symlink("t".repeat(4000), root.join("links/long")).unwrap();
}

fn set_xattrs(root: &Path) {
    use rustix::fs::{XattrFlags, setxattr};
    let set = |name: &str, key: &str, value: &[u8]| {
        setxattr(root.join(name), key, value, XattrFlags::empty()).unwrap();
    };
    set("small", "user.origin", b"here");
    set("small", "user.empty", b"");
    set("etc", "user.kind", b"directory");
    // A long value that occurs twice is stored once, out of line.
    set("small", "user.long", &[b'v'; 2000]);
    set("sizes/4096", "user.long", &[b'v'; 2000]);
}

/// Makes an image of `tree`.
pub fn image(tree: &Path, image: &Path, options: &[&str]) {
    let output = Command::new("mksquashfs")
        .args([tree, image])
        .args(["-noappend", "-no-progress", "-quiet", "-processors", "2"])
        .args(options)
        .output()
        .expect("mksquashfs (package squashfs-tools)");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn open(image: &Path) -> Filesystem {
    Filesystem::open(File::open(image).unwrap(), 0, None).unwrap()
}

/// Compares everything below `path` in the image with the tree. Returns the number of files.
pub fn compare(fs: &Filesystem, tree: &Path) -> usize {
    let mut left = vec![(fs.root().unwrap(), PathBuf::new())];
    let mut count = 0;
    while let Some((inode, path)) = left.pop() {
        count += 1;
        let real = tree.join(&path);
        let metadata = fs::symlink_metadata(&real).unwrap();
        assert_eq!(
            u32::from(inode.permissions),
            metadata.mode() & 0o7777,
            "mode of {path:?}"
        );
        assert_eq!(
            i64::from(inode.modified),
            metadata.mtime(),
            "time of {path:?}"
        );
        assert_eq!(
            (inode.uid, inode.gid),
            (metadata.uid(), metadata.gid()),
            "owner of {path:?}"
        );
        match inode.kind {
            Kind::Directory => {
                let mut names = BTreeSet::new();
                for entry in fs.read_dir(&inode, 0).unwrap() {
                    let entry = entry.unwrap();
                    let child = fs.inode(entry.inode).unwrap();
                    assert_eq!(child.kind, entry.kind);
                    let found = fs.lookup(&inode, &entry.name).unwrap().unwrap();
                    assert_eq!(found.reference, entry.inode);
                    left.push((child, path.join(OsStr::from_bytes(&entry.name))));
                    names.insert(entry.name);
                }
                let real: BTreeSet<Vec<u8>> = fs::read_dir(&real)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
                    .collect();
                assert_eq!(names, real, "entries of {path:?}");
                assert!(fs.lookup(&inode, b"no such name").unwrap().is_none());
            }
            Kind::File => {
                assert_eq!(
                    u64::from(inode.links),
                    metadata.nlink(),
                    "links of {path:?}"
                );
                let contents = fs::read(&real).unwrap();
                assert!(
                    contents == read_in_parts(fs, &inode, 50_000),
                    "contents of {path:?}"
                );
                assert!(
                    contents == read_in_parts(fs, &inode, 1 << 22),
                    "contents of {path:?}"
                );
            }
            Kind::Symlink => {
                let target = fs::read_link(&real).unwrap();
                assert_eq!(fs.read_link(&inode).unwrap(), target.as_os_str().as_bytes());
            }
            _ => {}
        }
    }
    count
}

/// Reads a file in calls of `size` bytes.
pub fn read_in_parts(fs: &Filesystem, inode: &Inode, size: usize) -> Vec<u8> {
    let mut contents = Vec::new();
    let mut buffer = vec![0; size];
    loop {
        let filled = fs.read(inode, contents.len() as u64, &mut buffer).unwrap();
        if filled == 0 {
            return contents;
        }
        contents.extend(&buffer[..filled]);
    }
}
