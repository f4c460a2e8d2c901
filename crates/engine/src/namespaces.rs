//! Namespaces that a container joins.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use serde_json::Value;

use crate::{Document, Error};

/// The file system of namespace files (linux/magic.h, `NSFS_MAGIC`).
const NSFS: i64 = 0x6e73_6673;

/// Refuses a path that does not lead to a namespace, and one that leads to the mount namespace of this
/// process: the container's mounts would stay on the host.
pub(crate) fn refuse_others(document: &Document) -> Result<(), Error> {
    for namespace in document.namespaces() {
        let Some(path) = namespace.get("path").and_then(Value::as_str) else {
            continue;
        };
        let reason = match is_namespace(Path::new(path)) {
            Ok(true) if namespace["type"] == "mount" && is_own_mount_namespace(path) => {
                "it is the mount namespace of the host, which would keep the mounts".to_owned()
            }
            Ok(true) => continue,
            Ok(false) => "it is no namespace".to_owned(),
            Err(error) => text::message(&error),
        };
        return Err(Error::Refused(format!(
            "linux.namespaces: {path}: {reason}"
        )));
    }
    Ok(())
}

fn is_namespace(path: &Path) -> io::Result<bool> {
    let file = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fstatfs(&file)?.f_type == NSFS)
}

/// Whether a path leads to this process's mount namespace, or to that of the machine's first one.
fn is_own_mount_namespace(path: &str) -> bool {
    let file = |path: &str| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let own = ["/proc/self/ns/mnt", "/proc/1/ns/mnt"].map(file);
    file(path).is_ok_and(|found| own.into_iter().flatten().any(|one| one == found))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_namespaces_are_joined() {
        let refused = |path: &str| {
            let namespaces = json!({"linux": {"namespaces": [{"type": "network", "path": path}]}});
            refuse_others(&namespaces.into()).map_err(|error| error.to_string())
        };
        assert_eq!(refused("/proc/self/ns/net"), Ok(()));
        let own =
            json!({"linux": {"namespaces": [{"type": "mount", "path": "/proc/self/ns/mnt"}]}});
        assert!(refuse_others(&own.into()).is_err());
        let error = refused("/proc/self/status").unwrap_err();
        assert!(
            error.contains("/proc/self/status: it is no namespace"),
            "{error}"
        );
        assert!(refused("/nowhere").unwrap_err().contains("no such file"));
    }
}
