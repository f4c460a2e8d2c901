//! podman as root, with directories of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A configuration that needs neither systemd nor `CAP_SYS_RESOURCE`, and knows our runtime.
const CONF: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
    [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
    runtime_supports_json = [\"runc\", \"slipway\"]\n";

/// Makes a command keep its files below `home`. The last word of the command is `podman`, or stands
/// for it.
///
/// # Panics
///
/// Panics when there is no room.
pub fn keep_below<'a>(podman: &'a mut Command, home: &Path) -> &'a mut Command {
    let file = |name: &str| home.join(name);
    let conf = file("containers.conf");
    fs::write(&conf, CONF).expect("there is room");
    podman.arg("--root").arg(file("storage"));
    podman.arg("--runroot").arg(file("run"));
    podman.arg("--tmpdir").arg(file("tmp"));
    podman.args(["--storage-driver", "vfs", "--log-level", "error"]);
    podman.env("CONTAINERS_CONF", conf).stdin(Stdio::null())
}
