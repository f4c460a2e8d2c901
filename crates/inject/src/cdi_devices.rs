//! Devices by name: what a CDI file says, made fit for a root file system that is read-only and a user
//! who may make no nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use cdi::ContainerEdits;
use elf::{Cache, CacheEntry, Linkage, Loader, Object};
use tree::Files;

use crate::{Edits, Host, Mount, Vendor};

/// Programs whose hooks only prepare files in the container, which is done here in another way.
const KNOWN: [&str; 5] = [
    "nvidia-cdi-hook",
    "nvidia-ctk",
    "slipway-hook-nvidia",
    "slipway-hook-rocm",
    "slipway-hook-fabric",
];

/// Hooks that run while a container is made.
const EARLY: [&str; 3] = ["prestart", "createRuntime", "createContainer"];

/// Whose drivers a CDI file injects by our own hooks, which choose libraries for each image.
#[must_use]
pub fn vendors(devices: &ContainerEdits) -> Vec<Vendor> {
    let own = [
        ("slipway-hook-nvidia", Vendor::Nvidia),
        ("slipway-hook-rocm", Vendor::Amd),
    ];
    let has = |name: &str| devices.hooks.iter().any(|hook| hook.path.ends_with(name));
    let named = own.into_iter().filter(|(name, _)| has(name));
    named.map(|(_, vendor)| vendor).collect()
}

/// Adds what a CDI file says to edits. Returns what the user should know, in words.
///
/// # Errors
///
/// Fails when the image or the host cannot be read, and on what cannot be given.
pub fn add_devices(
    edits: &mut Edits,
    devices: &ContainerEdits,
    host: &Host,
    image: &dyn Files,
    machine: Object,
) -> io::Result<Vec<String>> {
    let mut notes = Vec::new();
    for variable in &devices.env {
        if let Some((name, value)) = variable.split_once('=') {
            edits.env.push((name.to_owned(), value.to_owned()));
        }
    }
    for node in &devices.device_nodes {
        let source = node.host_path.as_ref().unwrap_or(&node.path);
        // The same node in the same place is there, if it is for this user at all.
        if !host.exists(source) {
            notes.push(format!("{} is not there", source.display()));
        } else if *source == node.path && node.path.starts_with("/dev") {
            if !edits.device_nodes.contains(source) {
                edits.device_nodes.push(node.path.clone());
            }
        } else {
            edits
                .mounts
                .push(Mount::new(source.clone(), node.path.clone()));
        }
    }
    for mount in &devices.mounts {
        if let Some(kind) = mount
            .kind
            .as_deref()
            .filter(|kind| !["", "bind", "none"].contains(kind))
        {
            let place = mount.container_path.display();
            return Err(io::Error::other(format!(
                "a mount of type {kind} on {place}"
            )));
        }
        edits.mounts.push(Mount {
            options: mount.options.clone(),
            ..Mount::new(mount.host_path.clone(), mount.container_path.clone())
        });
    }
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    let mut links: Vec<&str> = Vec::new();
    for hook in &devices.hooks {
        let name = hook
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if KNOWN.contains(&name.as_str()) {
            folders.extend(values(&hook.args, "--folder").map(PathBuf::from));
            links.extend(values(&hook.args, "--link"));
        } else if EARLY.contains(&hook.hook_name.as_str()) {
            edits.hooks.push(hook.clone());
        } else {
            let (path, stage) = (hook.path.display(), &hook.hook_name);
            notes.push(format!(
                "the hook {path} is not run: there is no {stage} here"
            ));
        }
    }
    if !devices.additional_gids.is_empty() {
        notes
            .push("the groups that it names are left out: the program has the caller's".to_owned());
    }
    if !devices.net_devices.is_empty() || devices.intel_rdt.is_some() {
        notes.push("network devices and shares of caches are left out".to_owned());
    }
    if !folders.is_empty() || !links.is_empty() {
        let sonames = sonames(edits, host, machine)?;
        for link in links {
            edits.mounts.extend(alias(&edits.mounts, &sonames, link));
        }
        edits.library_cache = with_folders(edits, &folders, &sonames, image, machine)?;
    }
    Ok(notes)
}

/// The values of a flag, `--flag VALUE` or `--flag=VALUE`.
fn values<'a>(args: &'a [String], flag: &'a str) -> impl Iterator<Item = &'a str> {
    args.iter().enumerate().filter_map(move |(index, word)| {
        if word == flag {
            return args.get(index + 1).map(String::as_str);
        }
        word.strip_prefix(flag)?.strip_prefix('=')
    })
}

/// The libraries that are mounted, by where the loader's tool would put a link to each: its directory,
/// and the name that it gives itself.
fn sonames(edits: &Edits, host: &Host, machine: Object) -> io::Result<BTreeMap<PathBuf, PathBuf>> {
    let mut found = BTreeMap::new();
    for mount in &edits.mounts {
        let Some(content) = host.files().open(&mount.host_path)? else {
            continue;
        };
        let linkage = Linkage::read(content)
            .ok()
            .filter(|own| own.object == machine);
        let Some(soname) = linkage.and_then(|linkage| linkage.soname) else {
            continue;
        };
        let place = &mount.container_path;
        found.insert(place.with_file_name(soname), place.clone());
    }
    Ok(found)
}

/// In place of a link `TARGET::LINK`, another mount of what the target is.
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

/// A path without `.` and `..`, by its text.
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

/// The loader's cache with the libraries that are mounted in some directories, by the names they have
/// and those they give themselves.
fn with_folders(
    edits: &Edits,
    folders: &BTreeSet<PathBuf>,
    sonames: &BTreeMap<PathBuf, PathBuf>,
    image: &dyn Files,
    machine: Object,
) -> io::Result<Option<Vec<u8>>> {
    let Some(flags) = elf::flags(&machine) else {
        return Ok(None);
    };
    let mut cache = match &edits.library_cache {
        Some(bytes) => Cache::parse(bytes).unwrap_or_default(),
        None => Loader::new(image, machine)?.cache().clone(),
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
