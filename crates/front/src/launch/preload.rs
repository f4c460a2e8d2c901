//! The caller's `LD_PRELOAD`. Sites set it for programs of the host, and an image seldom has the
//! objects that it names.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Returns the objects that exist, and those that do not: the image's loader would complain of each
/// missing one in every program. Names without a slash count as existing, because the loader
/// searches them. So do paths with the loader's own words (ld.so(8), `$ORIGIN`).
pub fn split(value: &OsStr, is_there: impl Fn(&Path) -> bool) -> (OsString, Vec<&OsStr>) {
    let objects = value.as_bytes().split(|byte| b": ".contains(byte));
    let objects = objects.filter(|object| !object.is_empty());
    let (kept, lost): (Vec<&[u8]>, Vec<&[u8]>) = objects.partition(|object| {
        let is_path = object.contains(&b'/') && !object.contains(&b'$');
        !is_path || is_there(Path::new(OsStr::from_bytes(object)))
    });
    let kept = OsStr::from_bytes(&kept.join(&b':')).to_owned();
    (kept, lost.into_iter().map(OsStr::from_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_are_looked_for() {
        let is_there = |path: &Path| path == Path::new("/there.so");
        let value = OsStr::new("/there.so: libm.so /gone.so:/$LIB/x.so  here/gone.so");
        let (kept, lost) = split(value, is_there);
        assert_eq!(kept, "/there.so:libm.so:/$LIB/x.so");
        assert_eq!(lost, ["/gone.so", "here/gone.so"]);
        assert_eq!(
            split(OsStr::new(""), is_there),
            (OsString::new(), Vec::new())
        );
    }
}
