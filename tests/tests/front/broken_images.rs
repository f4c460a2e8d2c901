//! Files that are damaged images or no images: one line, exit 255, at once.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use tests::{fixture, front, open_to_all, run};

/// A refusal takes milliseconds on an idle machine; without it, the reader waits for ever.
const LONGEST: Duration = Duration::from_secs(10);

/// Offset of a SIF's descriptor of its third object. The table is at 4096, with 585 bytes for each.
const THIRD: usize = 4096 + 2 * 585;

fn refused(path: &Path, words: &[&str]) {
    let start = Instant::now();
    let outcome = run(&mut front([
        std::ffi::OsStr::new("exec"),
        path.as_os_str(),
        std::ffi::OsStr::new("true"),
    ]));
    let took = start.elapsed();
    assert_eq!(outcome.code, 255, "{}: {outcome:?}", path.display());
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(outcome.stderr.starts_with("FATAL:   "), "{outcome:?}");
    assert!(
        outcome.stderr.contains(&*path.to_string_lossy()),
        "{outcome:?}"
    );
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word}: {outcome:?}");
    }
    assert!(took < LONGEST, "{took:?}");
}

#[test]
fn damage_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    open_to_all(dir.path());
    let whole = fs::read(fixture("bb.sif")).unwrap();
    let squashfs = whole
        .windows(4)
        .position(|window| window == b"hsqs")
        .unwrap();
    let with = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = dir.path().join(name);
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        path
    };
    refused(
        &with("truncated.sif", &|bytes| bytes.truncate(bytes.len() / 2)),
        &["truncated"],
    );
    refused(
        &with("header.sif", &|bytes| bytes.truncate(100)),
        &["128 bytes"],
    );
    let outside = |bytes: &mut Vec<u8>| {
        bytes[THIRD + 17..THIRD + 25].copy_from_slice(&(1i64 << 40).to_le_bytes());
    };
    refused(
        &with("outside.sif", &outside),
        &["object 3", "the file has"],
    );
    refused(
        &with("magic.sif", &|bytes| bytes[squashfs..squashfs + 4].fill(0)),
        &["superblock"],
    );
    refused(
        &with("block-size.sif", &|bytes| {
            bytes[squashfs + 12..squashfs + 16].fill(0xff);
        }),
        &["superblock", "block size"],
    );
    let table = |bytes: &mut Vec<u8>| {
        let start =
            u64::from_le_bytes(bytes[squashfs + 64..squashfs + 72].try_into().unwrap()) as usize;
        bytes[squashfs + start..squashfs + start + 64].fill(0xff);
    };
    refused(&with("inodes.sif", &table), &[]);
    refused(
        &with("text", &|bytes| *bytes = b"hello".to_vec()),
        &["not recognized"],
    );
}

#[test]
fn a_damaged_block_hurts_its_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    open_to_all(dir.path());
    let mut bytes = fs::read(fixture("bb.sif")).unwrap();
    let squashfs = bytes
        .windows(4)
        .position(|window| window == b"hsqs")
        .unwrap();
    // The first data block follows the superblock: busybox itself.
    bytes[squashfs + 96..squashfs + 4096].fill(0x55);
    let path = dir.path().join("block.sif");
    fs::write(&path, bytes).unwrap();
    let start = Instant::now();
    let outcome = run(&mut front(["exec", path.to_str().unwrap(), "true"]));
    assert_eq!(outcome.code, 255, "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(start.elapsed() < LONGEST);
}

#[test]
fn devices_are_made_in_the_image_only() {
    let dir = tempfile::tempdir().unwrap();
    open_to_all(dir.path());
    let (image, outside) = (dir.path().join("image"), dir.path().join("outside"));
    fs::create_dir_all(image.join("bin")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    symlink(&outside, image.join("dev")).unwrap();
    refused(&image, &["/dev", "symbolic link"]);
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    open_to_all(dir.path());
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    refused(&fifo, &["is a FIFO"]);
    let unreadable = dir.path().join("unreadable.sif");
    fs::copy(fixture("bb.sif"), &unreadable).unwrap();
    fs::set_permissions(
        &unreadable,
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    refused(&unreadable, &["ermission denied"]);
    refused(
        &dir.path().join("missing.sif"),
        &["o such file or directory"],
    );
}
