//! The names of the parts of NVIDIA's driver.
//!
//! The lists combine Apptainer's `nvliblist.conf` with the files that NVIDIA's own container
//! toolkit injects.

/// Prefixes of the names of libraries that are made for one version of the driver. `capability.rs`
/// says which of them belong to a capability other than graphics.
pub(super) const DRIVER: &[&str] = &[
    "libcuda.so",
    "libcudadebugger.so",
    "libnvcuvid.so",
    "libnvoptix.so",
    "libGLX_nvidia.so",
    "libEGL_nvidia.so",
    "libGLESv1_CM_nvidia.so",
    "libGLESv2_nvidia.so",
    "libvdpau_nvidia.so",
    "libnvidia-",
];

/// Exceptions that do not belong to the driver: the tools that make containers, and their library.
pub(super) const FOREIGN: &[&str] = &["libnvidia-container"];

/// Libraries that forward calls to the driver's, each with the library that decides for its family.
/// GLVND's libraries are made for each other.
pub(super) const DISPATCH: &[(&str, Option<&str>)] = &[
    ("libGLdispatch.so.0", None),
    ("libGL.so.1", GLVND),
    ("libGLX.so.0", GLVND),
    ("libEGL.so.1", GLVND),
    ("libOpenGL.so.0", GLVND),
    ("libGLESv1_CM.so.1", GLVND),
    ("libGLESv2.so.2", GLVND),
    ("libOpenCL.so.1", None),
    ("libnvidia-egl-gbm.so.1", None),
    ("libnvidia-egl-wayland.so.1", None),
    ("libnvidia-egl-wayland2.so.1", None),
    ("libnvidia-egl-xcb.so.1", None),
    ("libnvidia-egl-xlib.so.1", None),
];

const GLVND: Option<&str> = Some("libGLdispatch.so.0");

/// Other names by which programs ask for a library.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("libcuda.so", "libcuda.so.1"),
    ("libnvidia-ml.so", "libnvidia-ml.so.1"),
    ("libnvidia-opticalflow.so", "libnvidia-opticalflow.so.1"),
    ("libGLX_indirect.so.0", "libGLX_nvidia.so.0"),
];

/// Programs of the driver.
pub(super) const PROGRAMS: &[&str] = &[
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex",
    "nvidia-imex-ctl",
];

/// Data of the driver: files by which the dispatch libraries find it, and the file that OptiX
/// reads.
pub(super) const DATA: &[&str] = &[
    "/etc/OpenCL/vendors/nvidia.icd",
    "/etc/vulkan/icd.d/nvidia_icd.json",
    "/etc/vulkan/icd.d/nvidia_icd.x86_64.json",
    "/etc/vulkan/icd.d/nvidia_icd.aarch64.json",
    "/etc/vulkan/implicit_layer.d/nvidia_layers.json",
    "/usr/share/egl/egl_external_platform.d/09_nvidia_wayland2.json",
    "/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
    "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
    "/usr/share/egl/egl_external_platform.d/20_nvidia_xcb.json",
    "/usr/share/egl/egl_external_platform.d/20_nvidia_xlib.json",
    "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
    "/usr/share/nvidia/nvoptix.bin",
    "/usr/share/vulkan/icd.d/nvidia_icd.json",
    "/usr/share/vulkan/icd.d/nvidia_icd.x86_64.json",
    "/usr/share/vulkan/icd.d/nvidia_icd.aarch64.json",
    "/usr/share/vulkan/icd.d/nvidia_layers.json",
    "/usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
];

/// Libraries that other libraries look for beside themselves: the other library, and the path.
pub(super) const BACKENDS: &[(&str, &str)] = &[
    ("libgbm.so.1", "gbm/nvidia-drm_gbm.so"),
    ("libvdpau.so.1", "vdpau/libvdpau_nvidia.so.1"),
];

/// Sockets of the driver's daemons.
pub(super) const SOCKETS: &[&str] = &[
    "/run/nvidia-persistenced/socket",
    "/run/nvidia-fabricmanager/socket",
];
