//! Writes the same discovery as a CDI file, for engines that read CDI.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cdi::{ContainerEdits, Device, DeviceNode, Hook, Mount, Spec};
use elf::{Loader, Object};
use rootfs::Files;

use crate::compat::Class;
use crate::drivers::{LIBRARIES, names};
use crate::{Gpu, Host, Vendor, Wanted, fabric};

/// CDI version of the file: the oldest that has everything used here. Podman 4 reads it.
const VERSION: &str = "0.5.0";

/// Mount options of everything that is injected.
const OPTIONS: [&str; 5] = ["ro", "nosuid", "nodev", "rbind", "rprivate"];

/// Describes a vendor's GPUs and driver as a CDI file. Returns `None` if there is no driver.
///
/// `root` is the directory below which the reader of the file sees the host's files. With `hook`,
/// the program of `hooks/`, the libraries are chosen for each image when its container is made.
/// Without it, all of the driver's own libraries are mounted, and programs find them through
/// `LD_LIBRARY_PATH`.
///
/// # Errors
///
/// Fails when the host cannot be read.
pub fn gpu_spec(
    host: &Host,
    vendor: Vendor,
    machine: Object,
    root: &Path,
    hook: Option<&Path>,
) -> io::Result<Option<Spec>> {
    let theirs = Loader::new(host.files(), machine)?;
    let wanted = Wanted::all(vec![vendor]);
    // The image is empty, so the file has nothing that depends on an image.
    let Some(inventory) = vendor.inventory(host, &theirs, &Nothing, &wanted)? else {
        return Ok(None);
    };
    let node = |path: &PathBuf| node(root, path);
    let mut common = ContainerEdits {
        device_nodes: inventory.nodes.iter().map(node).collect(),
        ..ContainerEdits::default()
    };
    if vendor == Vendor::Nvidia {
        // Keeps other hooks from injecting the driver a second time.
        common.env.push("NVIDIA_VISIBLE_DEVICES=void".to_owned());
    }
    if let Some(hook) = hook {
        let name = match vendor {
            Vendor::Nvidia => "nvidia",
            Vendor::Amd => "rocm",
        };
        common.hooks.push(libraries(hook, name, root));
    } else {
        let options: Vec<String> = OPTIONS.map(str::to_owned).into();
        let mount = |from: &Path, to: PathBuf| Mount {
            host_path: below(root, from),
            container_path: to,
            options: options.clone(),
            kind: None,
        };
        for candidate in &inventory.candidates {
            let directory = match candidate.class {
                Class::Driver => Path::new(LIBRARIES),
                Class::Program => Path::new("/usr/bin"),
                // The image's own are best, but it is not known whether it has them.
                Class::Dispatch if vendor == Vendor::Nvidia => continue,
                Class::Dispatch => Path::new(LIBRARIES),
            };
            let places = names(&candidate.name, inventory.aliases).map(|name| directory.join(name));
            common
                .mounts
                .extend(places.map(|place| mount(&candidate.path, place)));
        }
        // If `root` is not `/`, a symbolic link below it would lead out of it. So the target is
        // mounted.
        let files = inventory.files.iter();
        let files = files.filter_map(|path| Some(mount(&host.canonical(path)?, path.clone())));
        common.mounts.extend(files);
        common.env.push(format!("LD_LIBRARY_PATH={LIBRARIES}"));
    }
    let kind = match vendor {
        Vendor::Nvidia => "nvidia.com/gpu",
        Vendor::Amd => "amd.com/gpu",
    };
    Ok(Some(Spec {
        cdi_version: VERSION.to_owned(),
        kind: kind.to_owned(),
        annotations: BTreeMap::new(),
        devices: devices(&vendor.gpus(host), root),
        container_edits: common,
    }))
}

/// Describes the host's fast networks as a CDI file. Returns `None` if there are none.
///
/// `root` is the directory below which the reader of the file sees the host's files. `hook` is the
/// program of `hooks/` that injects the libraries that an image lacks. Without it, the file has
/// only the devices, because everything else depends on the image.
#[must_use]
pub fn fabric_spec(host: &Host, root: &Path, hook: Option<&Path>) -> Option<Spec> {
    let networks = fabric::networks(host);
    if networks.is_empty() {
        return None;
    }
    let cards = networks.iter().flat_map(|network| &network.nodes);
    let common = fabric::nodes(host).into_iter();
    let common = common.filter(|node| !networks.iter().any(|network| network.nodes.contains(node)));
    let device = |name: String, nodes: Vec<&PathBuf>| device(name, nodes, root);
    // An Omni-Path card has one node of each kind.
    let mut by_name: BTreeMap<String, Vec<&PathBuf>> = BTreeMap::new();
    for card in cards.clone() {
        let nodes = by_name.entry(fabric::card(host, card)).or_default();
        nodes.push(card);
    }
    let named = by_name.into_iter().map(|(name, nodes)| device(name, nodes));
    let mut devices: Vec<Device> = named.collect();
    devices.push(device("all".to_owned(), cards.collect()));
    Some(Spec {
        cdi_version: VERSION.to_owned(),
        kind: fabric::CDI_KIND.to_owned(),
        annotations: BTreeMap::new(),
        devices,
        container_edits: ContainerEdits {
            device_nodes: common.map(|path| node(root, &path)).collect(),
            hooks: hook
                .map(|hook| libraries(hook, "fabric", root))
                .into_iter()
                .collect(),
            ..ContainerEdits::default()
        },
    })
}

/// Returns the path at which the reader of the CDI file sees a file of the host.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn node(root: &Path, path: &Path) -> DeviceNode {
    DeviceNode {
        path: path.to_owned(),
        host_path: Some(below(root, path)).filter(|own| own != path),
        ..DeviceNode::default()
    }
}

/// The hook of a name that injects the libraries that an image needs. `hook` is the path of the
/// program.
fn libraries(hook: &Path, name: &str, root: &Path) -> Hook {
    let program = hook.file_name().unwrap_or_default().to_string_lossy();
    let words = [&*program, name, "--libraries"];
    let mut args: Vec<String> = words.map(str::to_owned).into();
    if root != Path::new("/") {
        args.extend(["--driver-root".to_owned(), root.display().to_string()]);
    }
    Hook {
        hook_name: "createRuntime".to_owned(),
        path: hook.to_owned(),
        args,
        ..Hook::default()
    }
}

fn device(name: String, nodes: Vec<&PathBuf>, root: &Path) -> Device {
    Device {
        name,
        annotations: BTreeMap::new(),
        container_edits: ContainerEdits {
            device_nodes: nodes.into_iter().map(|path| node(root, path)).collect(),
            // CDI does not allow a device without edits.
            ..ContainerEdits::default()
        },
    }
}

/// Returns each GPU by its index and its UUID, the parts of each, and all GPUs together.
fn devices(gpus: &[Gpu], root: &Path) -> Vec<Device> {
    let device = |name: String, nodes: Vec<&PathBuf>| device(name, nodes, root);
    let mut all: Vec<&PathBuf> = Vec::new();
    let mut devices = Vec::new();
    for gpu in gpus {
        let parts = gpu.parts.iter().flat_map(|part| &part.nodes);
        let nodes: Vec<&PathBuf> = gpu.nodes.iter().chain(parts).collect();
        for name in [gpu.index.to_string(), gpu.uuid.clone()] {
            if !name.is_empty() {
                devices.push(device(name, nodes.clone()));
            }
        }
        for (index, part) in gpu.parts.iter().enumerate() {
            let nodes = gpu.nodes.iter().chain(&part.nodes).collect();
            devices.push(device(format!("{}:{index}", gpu.index), nodes));
        }
        all.extend(nodes);
    }
    devices.push(device("all".to_owned(), all));
    devices
}

/// An empty root file system.
#[derive(Debug)]
struct Nothing;

impl Files for Nothing {
    fn step(&self, _: &Path) -> io::Result<Option<rootfs::Step>> {
        Ok(None)
    }

    fn entry(&self, _: &Path) -> io::Result<Option<rootfs::Entry>> {
        Ok(None)
    }

    fn open(&self, _: &Path) -> io::Result<Option<Box<dyn rootfs::Content + '_>>> {
        Ok(None)
    }

    fn list(&self, _: &Path) -> io::Result<Vec<std::ffi::OsString>> {
        Ok(Vec::new())
    }
}
