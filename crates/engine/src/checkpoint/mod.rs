//! Saving a container's processes to files and bringing them back, by [CRIU].
//!
//! [CRIU]: https://criu.org

mod criu;
mod dump;
mod restore;

use std::path::PathBuf;

pub use dump::{Checkpoint, Extent, checkpoint};
pub use restore::{Restore, restore};

use serde_json::Value;

use crate::cgroup;

/// What CRIU is told for saving and for bringing back.
#[derive(Debug, Clone)]
pub struct CriuOptions {
    /// The program.
    pub program: PathBuf,
    /// The directory of the saved files.
    pub images: PathBuf,
    /// The directory of its log; that of the files if it is not said.
    pub work: Option<PathBuf>,
    /// Whether connections are kept.
    pub tcp_established: bool,
    /// Whether a unix socket may lead out of the container.
    pub external_sockets: bool,
    /// Whether a process may belong to a session outside.
    pub shell_job: bool,
    /// Whether files may be locked.
    pub file_locks: bool,
    /// Whether a part of the memory stays behind, to be fetched when it is used.
    pub lazy_pages: bool,
    /// Whether memory that was saved twice is saved once.
    pub auto_dedup: bool,
    /// How cgroups are dealt with: `soft`, `full`, `strict` or `ignore`.
    pub manage_cgroups: Option<String>,
    /// Whether the network namespace is made, and left empty.
    pub empty_network: bool,
}

/// The file in which runc keeps where the standard streams led.
const DESCRIPTORS: &str = "descriptors.json";

/// The kinds of namespaces that may have been there before the container, and CRIU's names for what
/// stays outside.
const EXTERNAL: [(&str, &str, &str); 2] = [
    ("network", "net", "extRootNetNS"),
    ("pid", "pid", "extRootPidNS"),
];

/// What a document says of one of the container's namespaces.
fn namespace<'a>(document: &'a Value, kind: &str) -> Option<&'a Value> {
    let namespaces = document.pointer("/linux/namespaces")?.as_array()?;
    namespaces.iter().find(|one| one["type"] == kind)
}

/// Where the specification has a container join a namespace.
fn joined<'a>(document: &'a Value, kind: &str) -> Option<&'a str> {
    let path = namespace(document, kind)?["path"].as_str()?;
    Some(path).filter(|path| !path.is_empty())
}

/// The mounts that show what is outside the container: destination and source.
fn outside(document: &Value) -> Vec<(String, String)> {
    let mut outside = Vec::new();
    for mount in document["mounts"].as_array().into_iter().flatten() {
        let text = |name: &str| mount[name].as_str().unwrap_or_default().to_owned();
        let mut options = mount["options"].as_array().into_iter().flatten();
        if mount["type"] == "bind" || options.any(|one| one == "bind" || one == "rbind") {
            outside.push((text("destination"), text("source")));
        } else if mount["type"] == "cgroup" {
            let cgroup = document.pointer("/linux/cgroupsPath");
            let cgroup = cgroup.and_then(Value::as_str).unwrap_or_default();
            outside.extend(cgroup::shown(&text("destination"), cgroup));
        }
    }
    outside
}
