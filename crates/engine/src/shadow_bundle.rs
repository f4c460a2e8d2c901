//! The container's own document: the bundle's `config.json`, normalised. It is kept in the state as
//! long as the container, so that later operations do not depend on changes of the bundle.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use serde_json::Value;

use crate::normalise::{Context, normalise};
use crate::{Document, Error, hooks};

/// The directory of shadow bundles within the state root. `list` leaves it out.
pub(crate) const SHADOWS: &str = ".bundles";

/// A bundle's document, normalised for libcontainer.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The document.
    pub(crate) document: Document,
    /// Messages for the user.
    pub(crate) warnings: Vec<String>,
}

impl Prepared {
    /// Whether hooks run in the runtime's namespaces before the start.
    pub(crate) fn has_early_hooks(&self) -> bool {
        hooks::EARLY
            .iter()
            .any(|point| self.document.has_hooks(point))
    }
}

/// Returns the path for things that a container has only while it is made. Each kind has a
/// directory of its own, so that the names of two containers never collide.
pub(crate) fn scratch(root: &Path, kind: &str, id: &str) -> PathBuf {
    scratch_directory(root, kind).join(id)
}

/// Returns the directory of a kind of things, as [`scratch`] uses it.
pub(crate) fn scratch_directory(root: &Path, kind: &str) -> PathBuf {
    root.join(format!("{SHADOWS}.{kind}"))
}

/// Returns the path of the shadow of a container's bundle.
pub(crate) fn shadow(root: &Path, id: &str) -> PathBuf {
    root.join(SHADOWS).join(id)
}

/// Largest document, in bytes.
const LONGEST: u64 = 16 << 20;

/// Reads and normalises the bundle's document.
pub(crate) fn prepare(
    id: &str,
    bundle: &Path,
    config: &Path,
    systemd_cgroup: bool,
    hooks_directories: &[PathBuf],
) -> Result<Prepared, Error> {
    let text = sys::read_file(config, LONGEST).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoConfig(bundle.to_owned()),
        _ => Error::State {
            action: "read",
            path: config.to_owned(),
            source,
        },
    })?;
    let mut document: Document = serde_json::from_slice(&text).map_err(|error| Error::Config {
        path: config.to_owned(),
        reason: error.to_string(),
    })?;
    hooks::add(&mut document, hooks_directories)?;
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
    let mut document = Document::from(normalised.document);
    // Mounts are made on the true path: what lies above it decides whether the host gets them.
    let root = document
        .root_path()
        .and_then(|root| fs::canonicalize(root).ok());
    if let Some(root) = root {
        document["root"]["path"] = root.to_string_lossy().into();
    }
    let limits = document.pointer("/process/rlimits");
    crate::process::rlimits::check(limits).map_err(Error::Refused)?;
    hooks::check(&document).map_err(Error::Refused)?;
    crate::check::document(&document).map_err(Error::Refused)?;
    refuse_for_host(&document)?;
    crate::namespaces::refuse_others(&document)?;
    if let Some(root) = document.root_path() {
        let found = fs::metadata(root).and_then(|metadata| {
            if metadata.is_dir() {
                Ok(())
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        });
        found.map_err(|error| {
            Error::Refused(format!("root.path {root}: {}", text::message(&error)))
        })?;
    }
    Ok(Prepared {
        document,
        warnings: normalised.warnings,
    })
}

/// Refuses settings that this host does not support, and that libcontainer would silently ignore.
fn refuse_for_host(document: &Document) -> Result<(), Error> {
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
    // The range of proc_pid_oom_score_adj(5).
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
        return refused(
            "invalid configuration: linux.resources.unified needs a host with cgroups of version 2 alone",
        );
    }
    Ok(())
}

/// The document's name in earlier versions.
const SHOWN: &str = "config.json";

/// The container's own document.
const OWN: &str = ".slipway.json";

/// Makes the directory of the container's own document, and writes it.
pub(crate) fn make_shadow(shadow: &Path, document: &Document) -> Result<(), Error> {
    make_private(shadow)?;
    write_new(&shadow.join(OWN), document)
}

/// Changes a container's own document.
pub(crate) fn change_document(shadow: &Path, document: &Document) -> Result<(), Error> {
    let path = shadow.join(OWN);
    write_whole(&path, &text_of(&path, document)?)
}

fn text_of(path: &Path, document: &Document) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document).map_err(|error| Error::Config {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Writes a file of a container that is being made. Nobody reads it if we are killed meanwhile.
fn write_new(path: &Path, document: &Document) -> Result<(), Error> {
    let text = text_of(path, document)?;
    let created = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    created
        .and_then(|mut file| file.write_all(&text))
        .map_err(Error::state("write", path))
}

/// Reads a container's own document.
pub(crate) fn read_document(shadow: &Path) -> Result<Document, Error> {
    let mut path = shadow.join(OWN);
    let mut text = fs::read(&path);
    if text
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    {
        path = shadow.join(SHOWN);
        text = fs::read(&path);
    }
    let text = text.map_err(Error::state("read", &path))?;
    serde_json::from_slice(&text).map_err(|error| Error::Config {
        path,
        reason: error.to_string(),
    })
}

/// Writes a file of the state that only its owner may read.
pub(crate) fn write_whole(path: &Path, text: &[u8]) -> Result<(), Error> {
    sys::replace_file(path, text, 0o600).map_err(Error::state("write", path))
}

/// Writes the id of a process to the caller's file, which everybody may read.
pub(crate) fn write_pid(path: &Path, pid: Pid) -> Result<(), Error> {
    let text = pid.to_string();
    sys::replace_file(path, text.as_bytes(), 0o644).map_err(Error::state("write", path))
}

/// Makes a directory of the state, and those above it, which only their owner may enter. Others
/// must not read a container's environment and the rest of its document.
pub(crate) fn make_private(directory: &Path) -> Result<(), Error> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(Error::state("create", directory))
}

/// Removes the directories of a container.
pub(crate) fn remove_directories(root: &Path, id: &str) -> Result<(), Error> {
    for directory in [
        shadow(root, id),
        scratch(root, "cgroup", id),
        scratch(root, "console", id),
        root.join(id),
    ] {
        remove_if_there(&directory)?;
    }
    Ok(())
}

/// Removes a directory with its content. One that is not there is no error.
pub(crate) fn remove_if_there(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::state("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

/// Returns the names of the capabilities in our bounding set.
pub(crate) fn available_capabilities() -> Vec<String> {
    let set = caps::read(None, caps::CapSet::Bounding).unwrap_or_default();
    set.into_iter()
        .map(|capability| capability.to_string())
        .collect()
}
