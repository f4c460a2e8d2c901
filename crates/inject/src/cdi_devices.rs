//! Devices by name: the edits of a CDI file, adapted to a root file system that is read-only and to
//! a user who may not create device nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use cdi::ContainerEdits;
use elf::{Cache, CacheEntry, Linkage, Loader};
use rootfs::Files as _;

use crate::{Edits, Host, Mount, Vendor, View};

/// Programs whose hooks only prepare files in the container. This crate prepares them in another
/// way.
const KNOWN: [&str; 3] = ["nvidia-cdi-hook", "nvidia-ctk", OWN];

/// Our own program of hooks. Its first argument names the hook.
const OWN: &str = "slipway-hook";

/// Hooks that run while a container is made.
const EARLY: [&str; 3] = ["prestart", "createRuntime", "createContainer"];

/// Returns the vendors whose drivers a CDI file injects through our own hooks, which choose
/// libraries for each image.
#[must_use]
pub fn vendors(devices: &ContainerEdits) -> Vec<Vendor> {
    let own = [("nvidia", Vendor::Nvidia), ("rocm", Vendor::Amd)];
    let ours = devices.hooks.iter().filter(|hook| hook.path.ends_with(OWN));
    let has = |name: &str| {
        ours.clone()
            .any(|hook| hook.args.get(1).is_some_and(|arg| arg == name))
    };
    let named = own.into_iter().filter(|(name, _)| has(name));
    named.map(|(_, vendor)| vendor).collect()
}

/// Edits that include devices of CDI files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WithDevices {
    /// The edits.
    pub edits: Edits,
    /// Messages for the user.
    pub notes: Vec<String>,
}

impl Edits {
    /// Adds the devices that CDI files describe.
    ///
    /// # Errors
    ///
    /// Fails when the image or the host cannot be read, and on edits that cannot be applied here.
    pub fn with_devices(self, devices: &ContainerEdits, view: View<'_>) -> io::Result<WithDevices> {
        let mut edits = self;
        let mut notes = missing_nodes(devices, view.host);
        edits.env.extend(variables(devices));
        edits.add_nodes(devices, view.host);
        for mount in &devices.mounts {
            edits.mounts.push(bind(mount)?);
        }
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        let mut links: Vec<&str> = Vec::new();
        for hook in &devices.hooks {
            let name = hook.path.file_name().unwrap_or_default();
            if KNOWN.iter().any(|known| name == *known) {
                folders.extend(values(&hook.args, "--folder").map(PathBuf::from));
                links.extend(values(&hook.args, "--link"));
            } else if EARLY.contains(&hook.hook_name.as_str()) {
                edits.hooks.push(hook.clone());
            } else {
                let (path, stage) = (hook.path.display(), &hook.hook_name);
                notes.push(format!(
                    "the hook {path} is not run: the stage {stage} is not supported"
                ));
            }
        }
        if !devices.additional_gids.is_empty() {
            notes.push(
                "additional groups are ignored: the program keeps the caller's groups".to_owned(),
            );
        }
        if !devices.net_devices.is_empty() || devices.intel_rdt.is_some() {
            notes.push("network devices and Intel RDT settings are ignored".to_owned());
        }
        if !folders.is_empty() || !links.is_empty() {
            let sonames = sonames(&edits, view)?;
            for link in links {
                edits.mounts.extend(alias(&edits.mounts, &sonames, link));
            }
            edits.library_cache = with_folders(&edits, &folders, &sonames, view)?;
        }
        Ok(WithDevices { edits, notes })
    }

    /// Adds the device nodes that this host has.
    fn add_nodes(&mut self, devices: &ContainerEdits, host: &Host) {
        for node in &devices.device_nodes {
            let source = node.host_path.as_ref().unwrap_or(&node.path);
            if !host.exists(source) {
                continue;
            }
            // A node that keeps its path below /dev is the host's node, with the host's
            // permissions. Any other node needs a bind mount.
            if *source != node.path || !node.path.starts_with("/dev") {
                self.mounts
                    .push(Mount::new(source.clone(), node.path.clone()));
            } else if !self.device_nodes.contains(source) {
                self.device_nodes.push(node.path.clone());
            }
        }
    }
}

/// Returns a note for each device node that this host lacks.
fn missing_nodes(devices: &ContainerEdits, host: &Host) -> Vec<String> {
    let nodes = devices.device_nodes.iter();
    nodes
        .map(|node| node.host_path.as_ref().unwrap_or(&node.path))
        .filter(|source| !host.exists(source))
        .map(|source| format!("{} does not exist", source.display()))
        .collect()
}

fn variables(devices: &ContainerEdits) -> impl Iterator<Item = (String, String)> + '_ {
    let pairs = devices.env.iter().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn bind(mount: &cdi::Mount) -> io::Result<Mount> {
    let kind = mount.kind.as_deref().unwrap_or_default();
    if !["", "bind", "none"].contains(&kind) {
        let place = mount.container_path.display();
        return Err(io::Error::other(format!(
            "mounts of type {kind} are not supported (on {place})"
        )));
    }
    Ok(Mount {
        options: mount.options.clone(),
        ..Mount::new(mount.host_path.clone(), mount.container_path.clone())
    })
}

/// Returns the values of a flag, given as `--flag VALUE` or `--flag=VALUE`.
fn values<'a>(args: &'a [String], flag: &'a str) -> impl Iterator<Item = &'a str> {
    args.iter().enumerate().filter_map(move |(index, word)| {
        if word == flag {
            return args.get(index + 1).map(String::as_str);
        }
        word.strip_prefix(flag)?.strip_prefix('=')
    })
}

/// Returns the mounted libraries, by the path of the link that ldconfig would make to each: its
/// directory and its soname.
fn sonames(edits: &Edits, view: View<'_>) -> io::Result<BTreeMap<PathBuf, PathBuf>> {
    let mut found = BTreeMap::new();
    for mount in &edits.mounts {
        let Some(content) = view.host.files().open(&mount.host_path)? else {
            continue;
        };
        let linkage = Linkage::read(content)
            .ok()
            .filter(|own| own.object == view.machine);
        let Some(soname) = linkage.and_then(|linkage| linkage.soname) else {
            continue;
        };
        let place = &mount.container_path;
        found.insert(place.with_file_name(soname), place.clone());
    }
    Ok(found)
}

/// Returns a second mount of the target's file, in place of a link `TARGET::LINK`.
fn alias(mounts: &[Mount], sonames: &BTreeMap<PathBuf, PathBuf>, link: &str) -> Option<Mount> {
    let (target, link) = link.split_once("::")?;
    let link = PathBuf::from(link);
    let target = clean(&link.parent()?.join(target));
    let target = sonames.get(&target).unwrap_or(&target);
    let real = mounts
        .iter()
        .find(|mount| mount.container_path == *target)?;
    Some(Mount {
        container_path: link,
        ..real.clone()
    })
}

/// Removes `.` and `..` from a path, by its text only.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

/// Returns the loader's cache with the libraries that are mounted in some directories, by their
/// file names and their sonames.
fn with_folders(
    edits: &Edits,
    folders: &BTreeSet<PathBuf>,
    sonames: &BTreeMap<PathBuf, PathBuf>,
    view: View<'_>,
) -> io::Result<Option<Vec<u8>>> {
    let Some(flags) = elf::flags(&view.machine) else {
        return Ok(None);
    };
    let mut cache = match &edits.library_cache {
        Some(bytes) => Cache::parse(bytes).unwrap_or_default(),
        None => Loader::new(view.image, view.machine)?.cache().clone(),
    };
    let own = edits
        .mounts
        .iter()
        .map(|mount| (&mount.container_path, &mount.container_path));
    for (name, place) in own.chain(sonames) {
        let is_in = place
            .parent()
            .is_some_and(|directory| folders.contains(directory));
        let name = name.file_name().filter(|name| is_in && is_library(name));
        if let Some(name) = name {
            cache.replace(CacheEntry::new(name.to_owned(), place.clone(), flags));
        }
    }
    Ok(cache.to_bytes())
}

fn is_library(name: &OsStr) -> bool {
    name.to_string_lossy().contains(".so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_mounts() {
        let mounts = [Mount::new(
            "/host/libcuda.so.1".into(),
            "/usr/lib64/libcuda.so.1".into(),
        )];
        let sonames = BTreeMap::from([(
            PathBuf::from("/usr/lib64/libx.so.2"),
            PathBuf::from("/usr/lib64/libcuda.so.1"),
        )]);
        let link = alias(&mounts, &sonames, "libcuda.so.1::/usr/lib64/libcuda.so").unwrap();
        assert_eq!(link.container_path, Path::new("/usr/lib64/libcuda.so"));
        let up = alias(&mounts, &sonames, "../libcuda.so.1::/usr/lib64/gbm/x.so").unwrap();
        assert_eq!(up.host_path, Path::new("/host/libcuda.so.1"));
        assert!(alias(&mounts, &sonames, "libx.so.2::/usr/lib64/libx.so").is_some());
        assert!(alias(&mounts, &sonames, "other::/usr/lib64/x").is_none());
        let args = ["h", "--folder", "/a", "--folder=/b", "--folder"].map(str::to_owned);
        assert_eq!(values(&args, "--folder").collect::<Vec<_>>(), ["/a", "/b"]);
    }
}
