//! Mounts that libcontainer cannot make. They are made before it runs, in a mount namespace of our
//! own from which the container's is copied. libcontainer then binds them from there.
//!
//! These mounts are staged: a tmpfs that begins as a copy of the files that it covers
//! (`tmpcopyup`), mounts with mapped owners (`idmap`), binds with a stated propagation, which
//! libcontainer ignores, binds whose source the container's root could not reach, and the host's
//! old hierarchies of cgroups.

mod cgroups;
mod copy;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, FileType, Mode, OFlags, fchmod, fstat, openat};
use rustix::mount::{MoveMountFlags, move_mount};
use serde_json::{Map, Value, json};
use sys::Propagation;

use self::cgroups::Hierarchies;
use crate::cgroup::has_old_hierarchies;
use crate::scratch::free_directory_of;
use crate::userns;
use crate::{Document, Error};

/// Directories to try first. Hardly anybody wants mounts below the mount of devices to be shared;
/// for `/` that is possible.
const FIRST: [&str; 2] = ["/dev/mqueue", "/dev/shm"];

/// Options of any mount; the others are options of the file system.
const FLAGS: [&str; 33] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "rbind",
    "relatime",
    "ro",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "rw",
    "shared",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "unbindable",
    "rro",
];

/// Makes the mounts that have to be staged, and changes the document to use them. If there are any,
/// the calling process is in a mount namespace of its own afterwards. `has_namespace` says that it
/// already is.
///
/// # Errors
///
/// Fails when the document asks for a mount that cannot be made here.
pub(crate) fn stage(document: &mut Document, has_namespace: bool) -> Result<(), Error> {
    let container = Container::of(document);
    let Some(mounts) = document.get_mut("mounts").and_then(Value::as_array_mut) else {
        return Ok(());
    };
    let kinds: Vec<Kind> = mounts
        .iter()
        .map(|mount| Kind::of(mount, &container))
        .collect();
    if !kinds.iter().any(Kind::is_needed) {
        return Ok(());
    }
    if let Err(reason) = may_stage(&container) {
        let must = kinds
            .iter()
            .zip(mounts.iter())
            .find(|(kind, _)| kind.is_required());
        return must.map_or(Ok(()), |(_, mount)| {
            Err(Error::Refused(format!(
                "the mount at {}: {reason}",
                mount["destination"].as_str().unwrap_or_default()
            )))
        });
    }
    if !has_namespace {
        unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|errno| Error::system("create a mount namespace", errno))?;
    }
    // All sources are opened before anything is covered.
    let mut made = Vec::new();
    for (kind, mount) in kinds.iter().zip(mounts.iter_mut()) {
        if let Some(mount) = mount.as_object_mut() {
            let destination = text(mount, "destination").to_owned();
            let staged = kind.make(mount, &container).map_err(|source| {
                Error::Refused(format!(
                    "the mount at {destination}: {}",
                    text::message(&source)
                ))
            })?;
            if let Some(staged) = staged {
                made.push((mount, staged));
            }
        }
    }
    let failed = |source: io::Error| Error::system("stage the container's mounts", source);
    let directory = free_directory_of(&FIRST, &[Path::new(&container.root)])
        .ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    attach_all(&directory, made).map_err(failed)
}

/// Attaches the mounts below a tmpfs that nobody else sees, and puts their paths into the document.
fn attach_all(directory: &Path, made: Vec<(&mut Map<String, Value>, Staged)>) -> io::Result<()> {
    let parent = mount_point(directory)?;
    mount(
        None::<&str>,
        &parent,
        None::<&str>,
        MsFlags::MS_PRIVATE,
        None::<&str>,
    )?;
    // The root user of the container's user namespace must be able to pass through.
    let options = Some("mode=711");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), directory, Some("tmpfs"), flags, options)?;
    mount(
        None::<&str>,
        directory,
        None::<&str>,
        MsFlags::MS_PRIVATE,
        None::<&str>,
    )?;
    for (number, (mount, staged)) in made.into_iter().enumerate() {
        let place = directory.join(number.to_string());
        let tree = staged.tree();
        if FileType::from_raw_mode(fstat(tree)?.st_mode) == FileType::Directory {
            fs::create_dir(&place)?;
        } else {
            fs::write(&place, "")?;
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(tree, "", CWD, &place, flags)?;
        if let Staged::Hierarchies(hierarchies) = &staged {
            hierarchies.attach(&place)?;
        }
        mount.insert("source".to_owned(), json!(place));
    }
    Ok(())
}

/// A staged mount that is not attached anywhere.
enum Staged {
    /// A mount, with the mounts below it.
    Tree(OwnedFd),
    /// The mounts of several hierarchies below one directory.
    Hierarchies(Hierarchies),
}

impl Staged {
    fn tree(&self) -> &OwnedFd {
        match self {
            Self::Tree(tree) => tree,
            Self::Hierarchies(hierarchies) => hierarchies.directory(),
        }
    }
}

/// Returns the mount point that a directory is on: of the longest ones, the last that was mounted.
fn mount_point(directory: &Path) -> io::Result<std::path::PathBuf> {
    let points = sys::mount_points()?.into_iter();
    let above = points.filter(|point| directory.starts_with(point));
    above
        .max_by_key(|point| point.as_os_str().len())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn may_stage(container: &Container) -> Result<(), &'static str> {
    if !container.has_mount_namespace {
        return Err("it needs a mount namespace, and the container has none of its own");
    }
    let capability = caps::Capability::CAP_SYS_ADMIN;
    if !caps::has_cap(None, caps::CapSet::Effective, capability).unwrap_or(false) {
        return Err("it needs root, or a user namespace around the runtime as podman makes it");
    }
    Ok(())
}

/// The parts of the document that matter here.
struct Container {
    root: String,
    has_mount_namespace: bool,
    has_user_namespace: bool,
    uid_mappings: Value,
    gid_mappings: Value,
    /// The container's cgroup, if the host has old hierarchies and we know its place in them.
    old_cgroup: Option<String>,
    /// Whether the container would see the host's whole unified hierarchy.
    shares_unified: bool,
}

impl Container {
    fn of(document: &Document) -> Self {
        let value = |pointer: &str| document.pointer(pointer).cloned().unwrap_or(Value::Null);
        Self {
            root: document.root_path().unwrap_or_default().to_owned(),
            has_mount_namespace: document.has_namespace("mount"),
            has_user_namespace: document.has_namespace("user"),
            uid_mappings: value("/linux/uidMappings"),
            gid_mappings: value("/linux/gidMappings"),
            old_cgroup: document
                .cgroup()
                .filter(|path| path.starts_with('/') && has_old_hierarchies())
                .map(str::to_owned),
            shares_unified: has_old_hierarchies() && !document.has_namespace("cgroup"),
        }
    }

    /// Returns our id for the container's root.
    fn root_id(mappings: &Value) -> u32 {
        let list = mappings.as_array().into_iter().flatten();
        let of_root = |one: &&Value| one["containerID"] == 0;
        list.into_iter()
            .find(of_root)
            .and_then(|one| one["hostID"].as_u64())
            .and_then(|id| u32::try_from(id).ok())
            .unwrap_or(0)
    }
}

fn text<'a>(mount: &'a Map<String, Value>, name: &str) -> &'a str {
    mount.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn options(mount: &Value) -> Vec<String> {
    let words = mount["options"].as_array().into_iter().flatten();
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// How a mount is staged.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// The mount is not staged, and is not a bind.
    Other,
    /// A plain bind. If any mount is staged, all binds are, so that none of them shows our own
    /// mounts.
    Bind {
        recursive: bool,
        propagation: Option<(Propagation, bool)>,
        /// Whether the container's root might be unable to reach the source.
        far: bool,
    },
    /// A bind with mapped owners.
    Mapped { recursive: bool, all: bool },
    /// A tmpfs that begins as a copy of the files that it covers.
    CopyUp,
    /// The container's part of the host's old hierarchies.
    Hierarchies,
    /// The container's part of the unified hierarchy beside the old ones, for a container that has
    /// no cgroup namespace and would see the host's root.
    Unified,
}

impl Kind {
    fn of(mount: &Value, container: &Container) -> Self {
        let options = options(mount);
        let has = |word: &str| options.iter().any(|option| option == word);
        let recursive = has("rbind");
        if mount["type"] == "tmpfs" && has("tmpcopyup") {
            return Self::CopyUp;
        }
        if mount["type"] == "cgroup" && container.old_cgroup.is_some() {
            return Self::Hierarchies;
        }
        if mount["type"] == "cgroup2"
            && container.shares_unified
            && container.old_cgroup.is_some()
            && cgroups::has_unified()
        {
            return Self::Unified;
        }
        if !(recursive || has("bind") || mount["type"] == "bind") {
            return Self::Other;
        }
        let mapped = mount["uidMappings"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        if mapped || has("idmap") || has("ridmap") {
            return Self::Mapped {
                recursive,
                all: has("ridmap"),
            };
        }
        let propagation = options.iter().rev().find_map(|word| {
            Some(match word.as_str() {
                "private" => (Propagation::Private, false),
                "rprivate" => (Propagation::Private, true),
                "slave" => (Propagation::Slave, false),
                "rslave" => (Propagation::Slave, true),
                "unbindable" => (Propagation::Unbindable, false),
                _ => return None,
            })
        });
        Self::Bind {
            recursive,
            propagation,
            far: container.has_user_namespace,
        }
    }

    fn is_needed(&self) -> bool {
        match self {
            Self::Other => false,
            Self::Bind {
                propagation, far, ..
            } => propagation.is_some() || *far,
            Self::Mapped { .. } | Self::CopyUp | Self::Hierarchies | Self::Unified => true,
        }
    }

    /// Whether the container would be different without staging this mount.
    fn is_required(&self) -> bool {
        matches!(
            self,
            Self::Mapped { .. } | Self::CopyUp | Self::Hierarchies | Self::Unified
        )
    }

    /// Makes the mount without attaching it, and leaves in the document the rest of the work for
    /// libcontainer.
    fn make(
        &self,
        mount: &mut Map<String, Value>,
        container: &Container,
    ) -> io::Result<Option<Staged>> {
        let source = text(mount, "source").to_owned();
        match self {
            Self::Other => Ok(None),
            Self::Bind {
                recursive,
                propagation,
                ..
            } => {
                let tree = sys::bind(Path::new(&source), *recursive)?;
                if let Some((propagation, all)) = propagation {
                    sys::set_mount_propagation(tree.as_fd(), *propagation, *all && *recursive)?;
                }
                Ok(Some(Staged::Tree(tree)))
            }
            Self::Mapped { recursive, all } => {
                let tree = sys::bind(Path::new(&source), *recursive)?;
                let own = |name: &str, containers: &Value| {
                    let mappings = mount.get(name).filter(|list| !list.is_null());
                    userns::Mappings::parse(mappings.unwrap_or(containers))
                };
                let uids = own("uidMappings", &container.uid_mappings)?;
                let gids = own("gidMappings", &container.gid_mappings)?;
                let namespace = userns::namespace(&uids, &gids)?;
                sys::map_mount_ids(tree.as_fd(), namespace.as_fd(), *all)?;
                mount.remove("uidMappings");
                mount.remove("gidMappings");
                keep_options(mount, |word| word != "idmap" && word != "ridmap");
                Ok(Some(Staged::Tree(tree)))
            }
            Self::CopyUp => {
                let tree = copy_up(mount, container)?;
                keep_options(mount, |word| FLAGS.contains(&word));
                mount.insert("type".to_owned(), json!("bind"));
                if let Some(options) = mount["options"].as_array_mut() {
                    options.push(json!("bind"));
                }
                Ok(Some(Staged::Tree(tree)))
            }
            Self::Hierarchies => {
                let path = container.old_cgroup.as_deref().unwrap_or_default();
                let words = options(&Value::Object(mount.clone()));
                let is_read_only = words.iter().any(|word| word == "ro" || word == "rro");
                let staged = Hierarchies::make(path, is_read_only)?;
                mount.insert("type".to_owned(), json!("bind"));
                let options = json!(["rbind", "nosuid", "nodev", "noexec"]);
                mount.insert("options".to_owned(), options);
                Ok(Some(Staged::Hierarchies(staged)))
            }
            Self::Unified => {
                let path = container.old_cgroup.as_deref().unwrap_or_default();
                let tree = cgroups::unified(path)?;
                keep_options(mount, |word| FLAGS.contains(&word));
                mount.insert("type".to_owned(), json!("bind"));
                if let Some(options) = mount["options"].as_array_mut() {
                    options.push(json!("bind"));
                }
                Ok(Some(Staged::Tree(tree)))
            }
        }
    }
}

fn keep_options(mount: &mut Map<String, Value>, keep: impl Fn(&str) -> bool) {
    if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
        options.retain(|word| word.as_str().is_some_and(&keep));
    }
}

/// Makes a tmpfs with a copy of the files at its destination, which is resolved as if the root were
/// `/`.
fn copy_up(mount: &Map<String, Value>, container: &Container) -> io::Result<OwnedFd> {
    let root = rootfs::Directory::open_root(Path::new(&container.root))?;
    let below = root.below(Path::new(text(mount, "destination")))?;
    let words = options(&Value::Object(mount.clone()));
    let data: Vec<&String> = words
        .iter()
        .filter(|word| !FLAGS.contains(&word.as_str()) && *word != "tmpcopyup")
        .collect();
    let tree = sys::new_file_system("tmpfs", data.iter().map(|word| word.as_str()))?;
    let top = openat(
        &tree,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if let Some(below) = &below {
        copy::copy_tree(below, &top)?;
        if !data.iter().any(|word| word.starts_with("mode=")) {
            fchmod(&top, Mode::from_raw_mode(fstat(below)?.st_mode & 0o7777))?;
        }
    }
    let id = |name: &str, mappings: &Value| {
        let given = data.iter().any(|word| word.starts_with(name));
        (!given).then(|| Container::root_id(mappings))
    };
    let (uid, gid) = (
        id("uid=", &container.uid_mappings),
        id("gid=", &container.gid_mappings),
    );
    std::os::unix::fs::fchown(&top, uid, gid)?;
    Ok(tree)
}

#[cfg(test)]
mod tests;
