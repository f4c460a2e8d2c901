//! Where something is mounted.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::read_all;

/// Returns the places of this process's mount namespace at which something is mounted, in the order of mounting
/// ([proc_pid_mountinfo(5)]).
///
/// [proc_pid_mountinfo(5)]: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
///
/// # Errors
///
/// Fails when `/proc` is not there.
pub fn mount_points() -> io::Result<Vec<PathBuf>> {
    let table = read_all(Path::new("/proc/self/mountinfo"))?;
    let lines = table.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(points.map(unescape).collect())
}

/// The kernel writes blanks and backslashes in paths as `\040`.
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
    }
}
