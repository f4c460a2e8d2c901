//! Any bytes are a squashfs or an error, and all of it can be walked.

#![no_main]

use std::fs::File;
use std::io::Write;

use libfuzzer_sys::fuzz_target;
use squashfs::Filesystem;

/// Largest number of entries that are visited: a tree that contains itself has no end.
const ENTRIES: usize = 2000;

fuzz_target!(|data: &[u8]| {
    let mut file = tempfile::tempfile().expect("there is room");
    file.write_all(data).expect("there is room");
    walk(file);
});

fn walk(file: File) {
    let Ok(fs) = Filesystem::open(file, 0, None) else {
        return;
    };
    let Ok(root) = fs.root() else { return };
    let mut directories = vec![root];
    let mut left = ENTRIES;
    let mut chunk = vec![0; 1 << 16];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs.read_dir(&directory, 0) else {
            continue;
        };
        for entry in entries {
            if left == 0 {
                return;
            }
            left -= 1;
            let Ok(inode) = entry.and_then(|entry| fs.inode(entry.inode)) else {
                break;
            };
            let _ = fs.read_link(&inode);
            let _ = fs.read(&inode, 0, &mut chunk);
            let _ = fs.read(&inode, inode.size.saturating_sub(9), &mut chunk);
            if inode.kind == squashfs::Kind::Directory {
                directories.push(inode);
            }
        }
    }
}
