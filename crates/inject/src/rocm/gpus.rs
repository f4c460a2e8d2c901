//! AMD's devices, from the kernel's topology of compute nodes.
//!
//! The format of `/sys/class/kfd/kfd/topology/nodes/N/properties` is in
//! `drivers/gpu/drm/amd/amdkfd/kfd_topology.c`: a line for each property, with its name and a
//! number.

use std::path::{Path, PathBuf};

use crate::{Gpu, Host};

const NODES: &str = "/sys/class/kfd/kfd/topology/nodes";

/// Returns the GPUs in the order of ROCm's own tools: the order of the nodes. Some nodes are CPUs.
#[must_use]
pub fn gpus(host: &Host) -> Vec<Gpu> {
    let names = host.names(Path::new(NODES)).into_iter();
    let mut numbers: Vec<u32> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let found = numbers.into_iter().filter_map(|number| {
        let directory = Path::new(NODES).join(number.to_string());
        let text = host.text(&directory.join("properties"))?;
        let property = |name: &str| -> Option<u64> {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(own, _)| *own == name)?.1.trim().parse().ok()
        };
        // CPUs have none of these.
        property("simd_count").filter(|count| *count > 0)?;
        let render = property("drm_render_minor").filter(|minor| *minor > 0)?;
        let location = property("location_id").unwrap_or(0);
        Some(Gpu {
            index: 0,
            uuid: property("unique_id").map_or_else(String::new, |id| format!("GPU-{id:016x}")),
            model: model(host, &directory, property("gfx_target_version")),
            bus: format!(
                "{:04x}:{:02x}:{:02x}.{}",
                property("domain").unwrap_or(0),
                location >> 8 & 0xff,
                location >> 3 & 0x1f,
                location & 7
            ),
            nodes: nodes(host, render),
            parts: Vec::new(),
        })
    });
    let mut found: Vec<Gpu> = found.collect();
    for (index, gpu) in found.iter_mut().enumerate() {
        gpu.index = index;
    }
    found
}

/// Returns the model's name, or else the generation that programs are compiled for: 90402 is
/// gfx942.
fn model(host: &Host, directory: &Path, generation: Option<u64>) -> String {
    let name = host.text(&directory.join("name")).unwrap_or_default();
    let generation = generation.map(|number| {
        let (major, minor, step) = (number / 10000, number / 100 % 100, number % 100);
        format!("gfx{major}{minor:x}{step:x}")
    });
    match (name.as_str(), generation) {
        ("", generation) => generation.unwrap_or_default(),
        (_, None) => name,
        (_, Some(generation)) => format!("{name} ({generation})"),
    }
}

/// Returns the node for computing, and the node for displays of the same device.
fn nodes(host: &Host, render: u64) -> Vec<PathBuf> {
    let same = PathBuf::from(format!("/sys/class/drm/renderD{render}/device/drm"));
    let mut names = host.names(&same);
    names.retain(|name| name.to_string_lossy().starts_with("card"));
    names.push(format!("renderD{render}").into());
    let nodes = names
        .into_iter()
        .map(|name| Path::new("/dev/dri").join(name));
    nodes.filter(|node| host.exists(node)).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;

    use super::*;

    #[test]
    fn processors_are_no_gpus_and_ten_comes_after_nine() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        };
        let node = |number: u32, properties: &str| {
            put(
                &format!("{}/{number}/properties", NODES.trim_start_matches('/')),
                properties,
            );
        };
        node(0, "cpu_cores_count 64\nsimd_count 0\ndrm_render_minor 0\n");
        let gpu = "simd_count 304\ngfx_target_version 90402\nunique_id 255\ndomain 0\n";
        node(
            10,
            &format!("{gpu}location_id 15616\ndrm_render_minor 129\n"),
        );
        node(9, &format!("{gpu}location_id 768\ndrm_render_minor 128\n"));
        put("sys/class/kfd/kfd/topology/nodes/9/name", "aqua\n");
        put("sys/class/drm/renderD128/device/drm/card1/x", "");
        for name in ["card1", "renderD128", "renderD129"] {
            put(&format!("dev/dri/{name}"), "");
        }
        let host = Host::new(root.path(), OsStr::new("/bin")).unwrap();
        let found = gpus(&host);
        let told: Vec<_> = found
            .iter()
            .map(|gpu| {
                (
                    gpu.index,
                    gpu.bus.as_str(),
                    gpu.model.as_str(),
                    gpu.uuid.as_str(),
                )
            })
            .collect();
        let uuid = "GPU-00000000000000ff";
        assert_eq!(
            told,
            [
                (0, "0000:03:00.0", "aqua (gfx942)", uuid),
                (1, "0000:3d:00.0", "gfx942", uuid),
            ]
        );
        assert_eq!(
            found[0].nodes,
            ["/dev/dri/card1", "/dev/dri/renderD128"].map(PathBuf::from)
        );
        assert_eq!(found[1].nodes, [PathBuf::from("/dev/dri/renderD129")]);
    }
}
