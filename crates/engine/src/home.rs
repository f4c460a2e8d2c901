//! The home directory of a container's user, from the container's own user database.
//!
//! The database comes from the image. The C library must not read it, because it would load the
//! modules that the image names for this purpose (CVE-2019-14271). The number of bytes read is
//! limited to more than any real database has.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Largest size of a database that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// The home of a user who has no other.
const NONE: &str = "/";

/// Returns the home of a user, from the database of the current root directory.
pub(crate) fn home(uid: u32) -> PathBuf {
    let passwd = sys::read_file(Path::new("/etc/passwd"), LIMIT);
    home_in(&passwd.unwrap_or_default(), uid)
}

fn home_in(passwd: &[u8], uid: u32) -> PathBuf {
    let uid = uid.to_string();
    let homes = passwd.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':').skip(2);
        (fields.next()? == uid.as_bytes()).then_some(fields.nth(2)?)
    });
    let mut homes = homes.filter(|home| home.starts_with(b"/") && !home.contains(&0));
    homes.next().map_or_else(
        || PathBuf::from(NONE),
        |home| PathBuf::from(std::ffi::OsStr::from_bytes(home)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_the_sixth_field_of_the_users_line() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/sh\nbad:x:7\nrel:x:8:8::home:/x\nu:x:9:9::/home/\xff:/x\n";
        assert_eq!(home_in(passwd, 0), Path::new("/root"));
        assert_eq!(home_in(passwd, 9).as_os_str().as_bytes(), b"/home/\xff");
        for uid in [7, 8, 10] {
            assert_eq!(home_in(passwd, uid), Path::new("/"), "{uid}");
        }
    }
}
