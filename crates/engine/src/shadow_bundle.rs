//! The bundle as libcontainer sees it.
//!
//! libcontainer reads `config.json` from a bundle directory by itself. It is given a shadow: a
//! directory in the state with the normalised document and links to everything else in the true
//! bundle. The shadow stays as long as the container: what is asked of it later does not depend on
//! what became of the bundle.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use serde_json::Value;

use crate::normalise::{Context, normalise};
use crate::{Error, hooks_dir, proc_mounts};

/// The directory of shadows within the state root. No id begins with a dot and has no more.
const SHADOWS: &str = ".bundles";

/// A bundle's document, fit for libcontainer.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The document.
    pub(crate) document: Value,
    /// What the user should know.
    pub(crate) warnings: Vec<String>,
    /// The path of the container's cgroup.
    pub(crate) cgroup: Option<String>,
    /// The rules about devices.
    pub(crate) devices: Option<Value>,
    /// Whether the process wants a terminal.
    pub(crate) terminal: bool,
}

impl Prepared {
    /// Whether hooks run in the runtime's namespaces before the start.
    pub(crate) fn has_early_hooks(&self) -> bool {
        let mut points = ["prestart", "createRuntime"].into_iter();
        points.any(|point| has_hooks(&self.document, point))
    }
}

/// Where a kept document says, besides what the specification has, that its container keeps the caller's keyring.
const KEEPS_KEYRING: &str = "slipwayKeepsKeyring";

/// Has a document say that its container's processes keep the session keyring of who starts them.
pub(crate) fn keep_keyring(document: &mut Value) {
    if let Some(document) = document.as_object_mut() {
        document.insert(KEEPS_KEYRING.to_owned(), true.into());
    }
}

/// Whether [`keep_keyring`] was said.
pub(crate) fn keeps_keyring(document: &Value) -> bool {
    document[KEEPS_KEYRING] == true
}

/// Whether a document names hooks of a kind.
pub(crate) fn has_hooks(document: &Value, point: &str) -> bool {
    let hooks = document.pointer(&format!("/hooks/{point}"));
    hooks.is_some_and(|hooks| hooks.as_array().is_none_or(|list| !list.is_empty()))
}

/// Returns where a container has what is needed only while it is made. No two kinds share a directory,
/// or the name of one container could be that of another's.
pub(crate) fn scratch(root: &Path, kind: &str, id: &str) -> PathBuf {
    root.join(format!("{SHADOWS}.{kind}")).join(id)
}

/// Returns where the shadow of a container's bundle is.
pub(crate) fn shadow(root: &Path, id: &str) -> PathBuf {
    root.join(SHADOWS).join(id)
}

/// Reads and normalises the bundle's document.
pub(crate) fn prepare(
    id: &str,
    bundle: &Path,
    config: &Path,
    systemd_cgroup: bool,
    hooks_directories: &[PathBuf],
) -> Result<Prepared, Error> {
    let text = fs::read(config).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoConfig(bundle.to_owned()),
        _ => Error::State {
            action: "read",
            path: config.to_owned(),
            source,
        },
    })?;
    let mut document: Value = serde_json::from_slice(&text).map_err(|error| Error::Config {
        path: config.to_owned(),
        reason: error.to_string(),
    })?;
    hooks_dir::add(&mut document, hooks_directories)?;
    let normalised = normalise(
        &document,
        &Context {
            id,
            bundle: &bundle.to_string_lossy(),
            systemd_cgroup,
            available_capabilities: &available_capabilities(),
        },
    )
    .map_err(Error::Refused)?;
    let pointer = |path: &str| normalised.document.pointer(path);
    crate::process::rlimits::check(pointer("/process/rlimits")).map_err(Error::Refused)?;
    let cgroup = pointer("/linux/cgroupsPath")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let devices = pointer("/linux/resources/devices").cloned();
    let terminal = pointer("/process/terminal")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    refuse_for_host(&normalised.document)?;
    crate::namespaces::refuse_others(&normalised.document)?;
    if let Some(root) = pointer("/root/path").and_then(Value::as_str) {
        let found = fs::metadata(root).and_then(|metadata| {
            if metadata.is_dir() {
                Ok(())
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        });
        found
            .map_err(|error| Error::Refused(format!("root.path {root}: {}", sys::words(&error))))?;
        refuse_links(Path::new(root))?;
        proc_mounts::refuse(&normalised.document).map_err(Error::Refused)?;
    }
    Ok(Prepared {
        document: normalised.document,
        warnings: normalised.warnings,
        cgroup,
        devices,
        terminal,
    })
}

/// Refuses a root file system whose `/dev` leads elsewhere: libcontainer makes nodes and links in there by
/// their paths, and would make them where that leads on the host.
fn refuse_links(root: &Path) -> Result<(), Error> {
    let device = root.join("dev");
    match fs::symlink_metadata(&device) {
        Ok(metadata) if metadata.is_symlink() => Err(Error::Refused(format!(
            "{} is a symbolic link: devices cannot be made there safely",
            device.display()
        ))),
        _ => Ok(()),
    }
}

/// Refuses what this host does not have, and libcontainer would pass over in silence.
fn refuse_for_host(document: &Value) -> Result<(), Error> {
    let is_set = |pointer: &str| match document.pointer(pointer) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        _ => false,
    };
    let refused = |text: &str| Err(Error::Refused(text.to_owned()));
    for (pointer, name) in [
        ("/process/selinuxLabel", "process.selinuxLabel"),
        ("/linux/mountLabel", "linux.mountLabel"),
    ] {
        let label = document.pointer(pointer).and_then(Value::as_str);
        crate::process::selinux::refuse(label.unwrap_or_default())
            .map_err(|error| Error::Refused(format!("{name}: {error}")))?;
    }
    // proc_pid_oom_score_adj(5)
    let score = document
        .pointer("/process/oomScoreAdj")
        .and_then(Value::as_i64);
    if score.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        return refused("process.oomScoreAdj is not between -1000 and 1000");
    }
    if is_set("/linux/resources/rdma") {
        return refused("linux.resources.rdma is not supported");
    }
    if is_set("/linux/resources/unified") && !crate::cgroup::is_unified() {
        return refused("linux.resources.unified needs a host with cgroups of version 2 alone");
    }
    Ok(())
}

/// Makes the directory to hand over, and returns the document's text.
pub(crate) fn make_shadow(
    shadow: &Path,
    bundle: &Path,
    document: &Value,
) -> Result<Vec<u8>, Error> {
    // Left by a runtime that was killed; no container has this id, or we would not be here.
    let _ = fs::remove_dir_all(shadow);
    make_private(shadow)?;
    let entries = fs::read_dir(bundle).map_err(Error::state("read", bundle))?;
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_name() != "config.json")
    {
        let link = shadow.join(entry.file_name());
        std::os::unix::fs::symlink(entry.path(), &link).map_err(Error::state("link", &link))?;
    }
    write_config(shadow, document)
}

/// Writes a container's document, and returns its text.
pub(crate) fn write_config(shadow: &Path, document: &Value) -> Result<Vec<u8>, Error> {
    let config = config(shadow);
    let text = serde_json::to_vec(document).map_err(|error| Error::Config {
        path: config.clone(),
        reason: error.to_string(),
    })?;
    write_whole(&config, &text)?;
    Ok(text)
}

/// Where the document is in a shadow.
pub(crate) fn config(shadow: &Path) -> PathBuf {
    shadow.join("config.json")
}

/// Writes a file of the state, which only its owner may read.
pub(crate) fn write_whole(path: &Path, text: &[u8]) -> Result<(), Error> {
    sys::replace_file(path, text, 0o600).map_err(Error::state("write", path))
}

/// Writes the id of a process where the caller wants it, for everybody to read.
pub(crate) fn write_pid(path: &Path, pid: Pid) -> Result<(), Error> {
    let text = pid.to_string();
    sys::replace_file(path, text.as_bytes(), 0o644).map_err(Error::state("write", path))
}

/// Makes a directory of the state, and those above it, which only their owner may enter: a container's environment,
/// and what else stands in its document, is nobody else's.
pub(crate) fn make_private(directory: &Path) -> Result<(), Error> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(Error::state("create", directory))
}

/// The names of our bounding set.
pub(crate) fn available_capabilities() -> Vec<String> {
    let set = caps::read(None, caps::CapSet::Bounding).unwrap_or_default();
    set.into_iter()
        .map(|capability| capability.to_string())
        .collect()
}
