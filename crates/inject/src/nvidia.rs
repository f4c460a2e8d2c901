//! NVIDIA: the driver's devices, libraries, programs and data, by name.
//!
//! The names are those of Apptainer's `nvliblist.conf`, so that what a user had with `--nv` there
//! is here, at the same places: libraries in `/.singularity.d/libs`, programs in `/usr/bin`, data
//! and sockets where the host has them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use elf::Object;

use crate::{Edits, Host, Mount};

/// Programs of the driver.
const PROGRAMS: &[&str] = &[
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
];

/// Beginnings of names of the driver's libraries, without `lib` in front and `.so` behind.
const LIBRARIES: &[&str] = &[
    "cuda",
    "cudadebugger",
    "nvcuvid",
    "nvoptix", // compute, video, ray tracing
    "nvidia-allocator",
    "nvidia-cfg",
    "nvidia-compiler",
    "nvidia-fatbinaryloader",
    "nvidia-gpucomp",
    "nvidia-ml",
    "nvidia-nvvm",
    "nvidia-opencl",
    "nvidia-opticalflow",
    "nvidia-pkcs11",
    "nvidia-ptxjitcompiler",
    "nvidia-rtcore", // what libcuda loads
    "nvidia-encode",
    "nvidia-fbc",
    "nvidia-ifr", // video
    "EGL",
    "EGL_installertest",
    "EGL_nvidia",
    "GL",
    "GLdispatch",
    "GLESv1_CM",
    "GLESv1_CM_nvidia",
    "GLESv2",
    "GLESv2_nvidia",
    "GLX",
    "GLX_installertest",
    "GLX_nvidia",
    "glx",
    "OpenGL",
    "nvidia-cbl",
    "nvidia-egl-wayland",
    "nvidia-eglcore",
    "nvidia-glcore",
    "nvidia-glsi",
    "nvidia-glvkspirv",
    "nvidia-gtk2",
    "nvidia-gtk3",
    "nvidia-tls",
    "nvidia-wfb",
    "vdpau_nvidia", // graphics
    "OpenCL",
];

/// Data of the driver.
const FILES: &[&str] = &[
    "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
    "/usr/share/vulkan/icd.d/nvidia_icd.json",
    "/usr/share/vulkan/icd.d/nvidia_layers.json",
    "/usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
    "/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
    "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
    "/usr/share/nvidia/nvoptix.bin",
];

/// The persistence daemon's socket, which `nvidia-smi` asks.
const SOCKET: &str = "/run/nvidia-persistenced/socket";

/// Where the libraries go; `LD_LIBRARY_PATH` inside a container ends with it.
const LIBRARY_DIRECTORY: &str = "/.singularity.d/libs";

/// Looks for NVIDIA's driver on `host`, for a container of programs for `container`.
///
/// Returns empty edits on a host without one.
#[must_use]
pub fn nvidia(host: &Host, container: Object) -> Edits {
    let mut mounts: Vec<Mount> = libraries(host, container).collect();
    for name in PROGRAMS {
        if let Some(host_path) = host.program(name) {
            mounts.push(Mount {
                host_path,
                container_path: Path::new("/usr/bin").join(name),
            });
        }
    }
    for path in FILES
        .iter()
        .chain([&SOCKET])
        .map(PathBuf::from)
        .filter(|path| host.exists(path))
    {
        mounts.push(Mount {
            container_path: path.clone(),
            host_path: path,
        });
    }
    Edits {
        device_nodes: devices(host),
        mounts,
    }
}

/// Every `/dev/nvidia*`, node or directory (`/dev/nvidia-caps`, of MIG instances).
fn devices(host: &Host) -> Vec<PathBuf> {
    host.names(Path::new("/dev"))
        .into_iter()
        .filter(|name| name.as_encoded_bytes().starts_with(b"nvidia"))
        .map(|name| Path::new("/dev").join(name))
        .collect()
}

/// The libraries that the host's loader would find, for the container's machine. Of two files with
/// one name the first wins, as for the loader.
fn libraries(host: &Host, container: Object) -> impl Iterator<Item = Mount> {
    let cache = host.library_cache();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for stem in LIBRARIES {
        let prefix = format!("lib{stem}.so");
        for entry in cache.starting_with(&prefix) {
            if !seen.contains(&entry.name) && host.object(&entry.path) == Some(container) {
                seen.insert(entry.name.clone());
                found.push(Mount {
                    host_path: entry.path.clone(),
                    container_path: Path::new(LIBRARY_DIRECTORY).join(&entry.name),
                });
            }
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HEAD: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
    const HEAD_32: &[u8] = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x03\0";

    /// An `ld.so.cache` of one library per pair, for this byte order.
    fn cache(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut table: Vec<u8> = Vec::new();
        for (name, path) in entries {
            let at = 48 + entries.len() * 24 + strings.len();
            let offsets = [0x303, at as u32, (at + name.len() + 1) as u32, 0, 0, 0];
            table.extend(offsets.iter().flat_map(|n| n.to_ne_bytes()));
            strings.extend(format!("{name}\0{path}\0").into_bytes());
        }
        let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
        bytes.extend((entries.len() as u32).to_ne_bytes());
        bytes.resize(48, 0);
        [bytes, table, strings].concat()
    }

    #[test]
    fn finds_a_driver_and_only_it() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &[u8]| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        put("lib64/libcuda.so.1", HEAD);
        put("lib32/libcuda.so.1", HEAD_32);
        put("lib64/libcudart.so.12", HEAD);
        put("opt/bin/nvidia-smi", b"");
        for node in ["nvidia0", "nvidiactl", "null"] {
            put(&format!("dev/{node}"), b"");
        }
        put(
            "etc/ld.so.cache",
            &cache(&[
                ("libcudart.so.12", "/lib64/libcudart.so.12"),
                ("libcuda.so.1", "/lib32/libcuda.so.1"),
                ("libcuda.so.1", "/lib64/libcuda.so.1"),
            ]),
        );
        let host = Host::new(root.path(), OsStr::new("/usr/bin:/opt/bin:relative"));
        let edits = nvidia(&host, Object::parse(HEAD).unwrap());
        let nodes = ["/dev/nvidia0", "/dev/nvidiactl"].map(PathBuf::from);
        assert_eq!(edits.device_nodes, nodes);
        let mount = |host_path: &str, container_path: &str| Mount {
            host_path: host_path.into(),
            container_path: container_path.into(),
        };
        assert_eq!(
            edits.mounts,
            [
                mount("/lib64/libcuda.so.1", "/.singularity.d/libs/libcuda.so.1"),
                mount("/opt/bin/nvidia-smi", "/usr/bin/nvidia-smi"),
            ]
        );
    }

    #[test]
    fn is_silent_without_a_driver() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path(), OsStr::new("/usr/bin"));
        assert!(nvidia(&host, Object::parse(HEAD).unwrap()).is_empty());
    }
}
