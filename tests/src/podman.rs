//! podman as root, with directories of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program;

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

/// Returns a command of podman, with our runtime, that runs `words` in a container of the archive in
/// `saved`, on the host's network. `flags` are more flags; the files are shown at the paths beside them.
///
/// # Panics
///
/// Panics when there is no room.
#[must_use]
pub fn in_container(
    saved: &Path,
    flags: &[String],
    files: &[(PathBuf, &str)],
    words: &[&str],
) -> Command {
    let mut podman = Command::new("podman");
    keep_below(&mut podman, saved);
    podman.arg("--runtime").arg(program("slipway"));
    podman.args(["run", "--rm", "--network", "host", "--entrypoint", ""]);
    podman.args(flags);
    for (source, target) in files {
        podman.arg("-v");
        podman.arg(format!("{}:{target}:ro", source.display()));
    }
    podman.arg(format!("oci-archive:{}", saved.join("oci.tar").display()));
    podman.args(words);
    podman
}
