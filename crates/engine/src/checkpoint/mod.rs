//! Saving a container's processes to files and restoring them, by [CRIU].
//!
//! [CRIU]: https://criu.org

mod criu;
mod dump;
mod restore;

use std::path::PathBuf;

pub use dump::{Checkpoint, Extent, checkpoint};
pub use restore::{Restore, restore};

use crate::Document;
use crate::cgroup;

/// CRIU's options for saving and restoring.
#[derive(Debug, Clone)]
pub struct CriuOptions {
    /// CRIU's program.
    pub program: PathBuf,
    /// The directory of the saved files.
    pub images: PathBuf,
    /// The directory of CRIU's log; by default the directory of the saved files.
    pub work: Option<PathBuf>,
    /// Whether connections are kept.
    pub tcp_established: bool,
    /// Whether a unix socket may lead out of the container.
    pub external_sockets: bool,
    /// Whether a process may belong to a session outside.
    pub shell_job: bool,
    /// Whether files may be locked.
    pub file_locks: bool,
    /// Whether a part of the memory stays behind and is fetched when it is used.
    pub lazy_pages: bool,
    /// Whether memory that was saved twice is kept once.
    pub auto_dedup: bool,
    /// CRIU's treatment of cgroups: `soft`, `full`, `strict` or `ignore`.
    pub manage_cgroups: Option<String>,
    /// Whether the network namespace is made and left empty.
    pub empty_network: bool,
}

/// The file in which runc stores where the standard streams led.
const DESCRIPTORS: &str = "descriptors.json";

/// The kinds of namespaces that may have existed before the container, and CRIU's names for those
/// that stay outside.
const EXTERNAL: [(&str, &str, &str); 2] = [
    ("network", "net", "extRootNetNS"),
    ("pid", "pid", "extRootPidNS"),
];

/// Returns the mounts that show something outside the container: destination and source.
fn outside(document: &Document) -> Vec<(String, String)> {
    let mut outside = Vec::new();
    for mount in document.mounts() {
        let text = |name: &str| mount[name].as_str().unwrap_or_default().to_owned();
        let mut options = mount["options"].as_array().into_iter().flatten();
        if mount["type"] == "bind" || options.any(|one| one == "bind" || one == "rbind") {
            outside.push((text("destination"), text("source")));
        } else if mount["type"] == "cgroup" {
            let cgroup = document.cgroup().unwrap_or_default();
            outside.extend(cgroup::shown(&text("destination"), cgroup));
        }
    }
    outside
}
