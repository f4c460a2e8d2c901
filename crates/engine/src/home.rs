//! The home directory of a container's user, from the container's own user database.
//!
//! The database comes from the image. The C library must not read it, because it would load the
//! modules that the image names for this purpose (CVE-2019-14271). The number of bytes read is
//! limited to more than any real database has.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rootfs::{Directory, Files};
use serde_json::Value;

use crate::Document;

/// Largest size of a database that is read, in bytes.
const LIMIT: usize = 4 << 20;

/// The home of a user who has no other.
const NONE: &str = "/";

/// Returns the home of a user, from the database of the current root directory.
pub(crate) fn home(uid: u32) -> PathBuf {
    let passwd = sys::read_file(Path::new("/etc/passwd"), LIMIT as u64);
    home_in(&passwd.unwrap_or_default(), uid)
}

/// Gives a document's process the variable `HOME`, if it has none or an empty one. libcontainer
/// would ask the C library for it, in the container's root. The program's final home is found there
/// once the mounts are made.
pub(crate) fn give_home(document: &mut Document) {
    let uid = document
        .pointer("/process/user/uid")
        .and_then(Value::as_u64);
    let uid = uid.and_then(|uid| u32::try_from(uid).ok()).unwrap_or(0);
    let root = document.root_path().unwrap_or_default().to_owned();
    let Some(process) = document.object_mut("process") else {
        return;
    };
    let env = process
        .entry("env")
        .or_insert_with(|| Value::Array(Vec::new()));
    let Some(env) = env.as_array_mut() else {
        return;
    };
    let variables = env.iter().filter_map(Value::as_str);
    // If there are several, libcontainer takes the last.
    let last = variables
        .filter_map(|one| one.strip_prefix("HOME="))
        .next_back();
    if last.is_none_or(str::is_empty) {
        let home = home_in(&passwd_inside(&root), uid);
        env.push(format!("HOME={}", home.to_str().unwrap_or(NONE)).into());
    }
}

fn passwd_inside(root: &str) -> Vec<u8> {
    let passwd = Directory::open_root(Path::new(root))
        .and_then(|root| root.read(Path::new("/etc/passwd"), LIMIT));
    passwd.ok().flatten().unwrap_or_default()
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
    use serde_json::json;

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

    #[test]
    fn libcontainer_never_has_to_look_for_a_home() {
        let rows = [
            (json!([]), "HOME=/h"),
            (json!(["HOME=/x", "HOME="]), "HOME=/h"),
            (json!(["HOME=", "HOME=/x"]), "HOME=/x"),
            (json!(["A=1"]), "HOME=/h"),
        ];
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), "u:x:5:5::/h:/x").unwrap();
        for (env, last) in rows {
            let mut document = Document::from(json!({
                "root": {"path": root.path()},
                "process": {"user": {"uid": 5}, "env": env},
            }));
            give_home(&mut document);
            let given = document["process"]["env"].as_array().unwrap();
            assert_eq!(given.last().unwrap(), last, "{env}");
        }
        let mut document = Document::from(json!({"process": {}}));
        give_home(&mut document);
        assert_eq!(document["process"]["env"], json!(["HOME=/"]));
    }
}
