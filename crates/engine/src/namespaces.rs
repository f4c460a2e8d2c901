//! Namespaces that a container is to join.

use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use serde_json::Value;

use crate::Error;

/// The file system of namespaces' own files (linux/magic.h, `NSFS_MAGIC`).
const NSFS: i64 = 0x6e73_6673;

/// Refuses a path that leads to no namespace: libcontainer would open it, and wait at a FIFO for ever.
pub(crate) fn refuse_others(document: &Value) -> Result<(), Error> {
    let namespaces = document.pointer("/linux/namespaces");
    for namespace in namespaces.and_then(Value::as_array).into_iter().flatten() {
        let Some(path) = namespace.get("path").and_then(Value::as_str) else {
            continue;
        };
        let reason = match is_namespace(Path::new(path)) {
            Ok(true) => continue,
            Ok(false) => "it is no namespace".to_owned(),
            Err(error) => sys::words(&error),
        };
        return Err(Error::Refused(format!(
            "linux.namespaces: {path}: {reason}"
        )));
    }
    Ok(())
}

/// Whether a container gets a namespace of a kind that is made for it.
pub(crate) fn makes(document: &Value, kind: &str) -> bool {
    let namespaces = document.pointer("/linux/namespaces");
    let mut namespaces = namespaces.and_then(Value::as_array).into_iter().flatten();
    namespaces.any(|one| one["type"] == kind && one["path"].is_null())
}

fn is_namespace(path: &Path) -> io::Result<bool> {
    let file = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fstatfs(&file)?.f_type == NSFS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_namespaces_are_joined() {
        let refused = |path: &str| {
            let namespaces = json!({"linux": {"namespaces": [{"type": "network", "path": path}]}});
            refuse_others(&namespaces).map_err(|error| error.to_string())
        };
        assert_eq!(refused("/proc/self/ns/net"), Ok(()));
        let error = refused("/proc/self/status").unwrap_err();
        assert!(
            error.contains("/proc/self/status: it is no namespace"),
            "{error}"
        );
        assert!(refused("/nowhere").unwrap_err().contains("no such file"));
    }
}
