//! The mounts of a process.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::read_all;

/// A mount, as [proc_pid_mountinfo(5)] describes it.
///
/// [proc_pid_mountinfo(5)]: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// The path of the mount's root within its file system.
    pub root: PathBuf,
    /// The mount point.
    pub point: PathBuf,
    /// Whether the mount is read-only.
    pub is_read_only: bool,
    /// The type of the file system.
    pub kind: String,
}

impl MountInfo {
    /// Reads the mounts of a process's mount namespace, in the order of mounting, from the text of
    /// its `mountinfo`.
    #[must_use]
    pub fn parse(table: &[u8]) -> Vec<Self> {
        let mount = |line: &[u8]| {
            let mut fields = line.split(|byte| *byte == b' ').skip(3);
            let (root, point, options) = (fields.next()?, fields.next()?, fields.next()?);
            let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
            Some(Self {
                root: unescape(root),
                point: unescape(point),
                is_read_only: options.split(|byte| *byte == b',').any(|one| one == b"ro"),
                kind: String::from_utf8_lossy(fields.next()?).into_owned(),
            })
        };
        table
            .split(|byte| *byte == b'\n')
            .filter_map(mount)
            .collect()
    }
}

/// Returns the mount points of this process's mount namespace, in the order of mounting.
///
/// # Errors
///
/// Fails when `/proc` is missing.
pub fn mount_points() -> io::Result<Vec<PathBuf>> {
    let table = read_all(Path::new("/proc/self/mountinfo"))?;
    let mounts = MountInfo::parse(&table).into_iter();
    Ok(mounts.map(|mount| mount.point).collect())
}

/// Decodes a path, in which the kernel writes blanks and backslashes in octal, as `\040`.
fn unescape(text: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(code) => {
                path.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_unescaped() {
        for (text, path) in [
            (&br"/a\040b\134c"[..], &br"/a b\c"[..]),
            (b"/a\\011\xff\\12", b"/a\t\xff\\12"),
            (br"\", br"\"),
        ] {
            assert_eq!(
                unescape(text),
                PathBuf::from(OsString::from_vec(path.to_vec()))
            );
        }
        assert!(mount_points().unwrap().contains(&PathBuf::from("/")));
        let line = b"5 1 0:8 /sub /a\\040b ro,nosuid shared:1 master:2 - ext4 /dev/x rw\n";
        let expected = MountInfo {
            root: "/sub".into(),
            point: "/a b".into(),
            is_read_only: true,
            kind: "ext4".to_owned(),
        };
        assert_eq!(MountInfo::parse(line), [expected]);
    }
}
