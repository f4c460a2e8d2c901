//! NVIDIA's devices: the GPUs, and their device nodes.
//!
//! The data is from `/proc/driver/nvidia` (the driver's README, "The /proc Interface") and
//! `/sys/bus/pci`.

use std::path::{Path, PathBuf};

use crate::{Gpu, Host, Part};

const GPUS: &str = "/proc/driver/nvidia/gpus";
const CAPABILITIES: &str = "/proc/driver/nvidia/capabilities";

/// Device nodes that programs need for any GPU.
const CONTROL: &[&str] = &[
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
    "/dev/nvidia-modeset",
];

/// Prefixes of the names of device nodes that connect GPUs with others: switches, other hosts'
/// memory, storage and network cards.
const BEYOND: &[&str] = &["nvidia-nvswitch", "nvidia-nvlink", "nvidia-fs", "gdrdrv"];
const IMEX: &str = "/dev/nvidia-caps-imex-channels";

/// Returns the version of the kernel's driver: `535.261.03`.
pub(super) fn version(host: &Host) -> Option<String> {
    if let Some(version) = host.text(Path::new("/sys/module/nvidia/version")) {
        return Some(version);
    }
    // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.261.03  Wed ..."
    let text = host.text(Path::new("/proc/driver/nvidia/version"))?;
    let line = text.lines().next()?;
    line.split_whitespace()
        .find(|word| is_version(word))
        .map(str::to_owned)
}

/// Whether a word is a version of the driver: two or three numbers, separated by points.
pub(super) fn is_version(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let numbers = parts
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    (2..=3).contains(&parts.len()) && numbers && parts.first().is_some_and(|part| part.len() >= 3)
}

/// Returns the GPUs, in the order of the PCI bus.
#[must_use]
pub fn gpus(host: &Host) -> Vec<Gpu> {
    let names = host.names(Path::new(GPUS)).into_iter();
    let known = names.enumerate().filter_map(|(index, bus)| {
        let bus = bus.into_string().ok()?;
        let text = host.text(&Path::new(GPUS).join(&bus).join("information"))?;
        let field = |name: &str| {
            let mut lines = text.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'));
            line.map(|value| value.trim().to_owned())
        };
        let minor: u32 = field("Device Minor")?.parse().ok()?;
        Some(Gpu {
            index,
            // The UUID has question marks until a program has used the GPU.
            uuid: field("GPU UUID")
                .filter(|uuid| !uuid.contains('?'))
                .unwrap_or_default(),
            model: field("Model").unwrap_or_default(),
            nodes: [own(minor)].into_iter().chain(drm(host, &bus)).collect(),
            parts: parts(host, minor),
            bus,
        })
    });
    let known: Vec<Gpu> = known.collect();
    if known.is_empty() {
        by_nodes(host)
    } else {
        known
    }
}

/// Returns the GPUs by their device nodes. In a container, `/proc` may have nothing about them.
fn by_nodes(host: &Host) -> Vec<Gpu> {
    let names = host.names(Path::new("/dev")).into_iter();
    let mut minors: Vec<u32> = names
        .filter_map(|name| name.to_str()?.strip_prefix("nvidia")?.parse().ok())
        .collect();
    minors.sort_unstable();
    let gpu = |(index, minor): (usize, &u32)| Gpu {
        index,
        uuid: String::new(),
        model: String::new(),
        bus: String::new(),
        nodes: vec![own(*minor)],
        parts: parts(host, *minor),
    };
    minors.iter().enumerate().map(gpu).collect()
}

fn own(minor: u32) -> PathBuf {
    PathBuf::from(format!("/dev/nvidia{minor}"))
}

fn drm(host: &Host, bus: &str) -> Vec<PathBuf> {
    let directory = Path::new("/sys/bus/pci/devices").join(bus).join("drm");
    let names = host.names(&directory).into_iter();
    let nodes = names.map(|name| Path::new("/dev/dri").join(name));
    nodes.filter(|node| host.exists(node)).collect()
}

/// Returns the parts of a GPU, from the nodes that give access to them: `gpu0/mig/gi1/ci0/access`.
fn parts(host: &Host, minor: u32) -> Vec<Part> {
    let directory = Path::new(CAPABILITIES).join(format!("gpu{minor}/mig"));
    let numbered = |directory: &Path, prefix: &str| -> Vec<u32> {
        let names = host.names(directory).into_iter();
        let mut numbers: Vec<u32> = names
            .filter_map(|name| name.to_str()?.strip_prefix(prefix)?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    };
    let node = |directory: &Path| {
        let text = host.text(&directory.join("access"))?;
        let minor = text
            .lines()
            .find_map(|line| line.strip_prefix("DeviceFileMinor:"))?;
        Some(PathBuf::from(format!(
            "/dev/nvidia-caps/nvidia-cap{}",
            minor.trim()
        )))
    };
    let mut parts = Vec::new();
    for gpu_instance in numbered(&directory, "gi") {
        let above = directory.join(format!("gi{gpu_instance}"));
        for compute_instance in numbered(&above, "ci") {
            let below = above.join(format!("ci{compute_instance}"));
            parts.push(Part {
                gpu_instance,
                compute_instance,
                nodes: [node(&above), node(&below)].into_iter().flatten().collect(),
            });
        }
    }
    parts
}

/// Returns the device nodes that programs need for any GPU, and those that connect GPUs with
/// others, as far as they exist.
pub(super) fn common_nodes(host: &Host) -> Vec<PathBuf> {
    let control = CONTROL.iter().map(PathBuf::from);
    let mut nodes: Vec<PathBuf> = control.filter(|node| host.exists(node)).collect();
    let beyond = |name: &&std::ffi::OsString| {
        let text = name.to_string_lossy();
        BEYOND.iter().any(|prefix| text.starts_with(prefix))
    };
    let names = host.names(Path::new("/dev"));
    nodes.extend(
        names
            .iter()
            .filter(beyond)
            .map(|name| Path::new("/dev").join(name)),
    );
    let channels = host.names(Path::new(IMEX)).into_iter();
    nodes.extend(channels.map(|name| Path::new(IMEX).join(name)));
    nodes
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;

    use super::*;

    #[test]
    fn versions_are_told_from_other_words() {
        for word in ["535.261.03", "470.57", "1000.1"] {
            assert!(is_version(word), "{word}");
        }
        for word in ["", "1", "535", "12.2", "535.", "x.y", "1.2.3.4", "GCC"] {
            assert!(!is_version(word), "{word}");
        }
    }

    #[test]
    fn gpus_are_counted_along_the_bus() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        };
        let information = |minor: u32, uuid: &str| {
            format!(
                "Model: \t\t NVIDIA H200\nIRQ:   \t\t 70\nGPU UUID: \t {uuid}\nBus Location: \t x\n\
                 Device Minor: \t {minor}\n"
            )
        };
        put(
            "proc/driver/nvidia/gpus/0000:3b:00.0/information",
            &information(1, "GPU-b"),
        );
        put(
            "proc/driver/nvidia/gpus/0000:1a:00.0/information",
            &information(0, "GPU-a"),
        );
        put(
            "proc/driver/nvidia/capabilities/gpu1/mig/gi1/access",
            "DeviceFileMinor: 21\nx: 1\n",
        );
        put(
            "proc/driver/nvidia/capabilities/gpu1/mig/gi1/ci0/access",
            "DeviceFileMinor: 22\n",
        );
        put(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.261.03  Wed\nGCC\n",
        );
        put("sys/bus/pci/devices/0000:3b:00.0/drm/card1/x", "");
        put("sys/bus/pci/devices/0000:3b:00.0/drm/renderD129/x", "");
        for node in [
            "dri/card1",
            "nvidia0",
            "nvidia1",
            "nvidiactl",
            "gdrdrv",
            "null",
        ] {
            put(&format!("dev/{node}"), "");
        }
        put("dev/nvidia-caps-imex-channels/channel0", "");
        let host = Host::new(root.path(), OsStr::new("/bin")).unwrap();
        assert_eq!(version(&host).unwrap(), "535.261.03");
        let found = gpus(&host);
        let told: Vec<_> = found
            .iter()
            .map(|gpu| (gpu.index, gpu.uuid.as_str()))
            .collect();
        assert_eq!(told, [(0, "GPU-a"), (1, "GPU-b")]);
        let second = &found[1];
        assert_eq!(
            second.nodes,
            ["/dev/nvidia1", "/dev/dri/card1"].map(PathBuf::from)
        );
        let caps = [
            "/dev/nvidia-caps/nvidia-cap21",
            "/dev/nvidia-caps/nvidia-cap22",
        ];
        assert_eq!(second.parts[0].nodes, caps.map(PathBuf::from));
        let common = [
            "/dev/nvidiactl",
            "/dev/gdrdrv",
            "/dev/nvidia-caps-imex-channels/channel0",
        ];
        assert_eq!(common_nodes(&host), common.map(PathBuf::from));
        fs::remove_dir_all(root.path().join("proc")).unwrap();
        let by_node: Vec<_> = gpus(&host).into_iter().flat_map(|gpu| gpu.nodes).collect();
        assert_eq!(by_node, ["/dev/nvidia0", "/dev/nvidia1"].map(PathBuf::from));
    }
}
