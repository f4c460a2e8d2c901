//! AMD: the GPUs' nodes, and ROCm's libraries and programs.
//!
//! The kernel's interface is the same for every release of ROCm, so no library has to be the
//! host's. The image's own libraries are best, and complete.

mod gpus;

use std::path::{Path, PathBuf};

use elf::Loader;

pub use gpus::gpus;

use crate::Host;
use crate::compat::{Candidate, Class};
use crate::inventory::{Inventory, libraries, programs};

/// Prefixes of the names of libraries, each with the library that decides for its family. ROCm's
/// libraries are made for each other.
const LIBRARIES: &[(&str, Option<&str>)] = &[
    ("libhsa-runtime64.so.", None),
    ("libhsakmt.so.", RUNTIME),
    ("libamdhip64.so.", RUNTIME),
    ("libhiprtc.so.", RUNTIME),
    ("libhiprtc-builtins.so.", RUNTIME),
    ("libamd_comgr.so.", RUNTIME),
    ("libamdocl64.so", RUNTIME),
    ("librocprofiler-register.so.", RUNTIME),
    ("librocm-core.so.", RUNTIME),
    ("librocm_smi64.so.", None),
    ("libamd_smi.so.", None),
    ("libdrm.so.2", None),
    ("libdrm_amdgpu.so.1", Some("libdrm.so.2")),
    ("libnuma.so.1", None),
    ("libelf.so.1", None),
    ("libOpenCL.so.1", None),
];

const RUNTIME: Option<&str> = Some("libhsa-runtime64.so.1");

const PROGRAMS: &[&str] = &["rocminfo", "rocm-smi", "amd-smi", "rocm_agent_enumerator"];

/// The file by which OpenCL's dispatch library finds the driver, and libdrm's names of the models.
const DATA: &[&str] = &[
    "/etc/OpenCL/vendors/amdocl64.icd",
    "/usr/share/libdrm/amdgpu.ids",
    "/opt/amdgpu/share/libdrm/amdgpu.ids",
];

/// ROCm's Python tools look for their library in `../../lib`, from their own directory.
const PLACES: &[(&str, &str)] = &[
    ("librocm_smi64.so.", "/lib/librocm_smi64.so"),
    ("librocm_smi64.so.1", "/lib/librocm_smi64.so.1"),
];

const KFD: &str = "/dev/kfd";

/// Returns the version of the driver: that of the module if it is AMD's own, or else the kernel's.
/// Returns `None` if there is no GPU for ROCm.
#[must_use]
pub fn driver(host: &Host) -> Option<String> {
    if !host.exists(Path::new(KFD)) {
        return None;
    }
    let own = host.text(Path::new("/sys/module/amdgpu/version"));
    let kernel = || {
        let release = host.text(Path::new("/proc/sys/kernel/osrelease"))?;
        Some(format!("of Linux {release}"))
    };
    own.or_else(kernel)
}

/// Returns a text that changes with everything that the result depends on, except the loader's
/// cache.
pub(crate) fn identity(host: &Host) -> String {
    let programs: Vec<_> = PROGRAMS.iter().map(|name| host.program(name)).collect();
    format!("{:?} {programs:?}", driver(host))
}

/// Returns the parts of ROCm for a container, or `None` if there is no GPU for it.
pub(crate) fn inventory(host: &Host, theirs: &Loader<'_>) -> Option<Inventory> {
    let driver = driver(host)?;
    let mut candidates = libraries(host, theirs, sort);
    let programs: Vec<Candidate> = programs(host, PROGRAMS).collect();
    candidates.extend(programs.iter().flat_map(|program| modules(host, program)));
    candidates.extend(programs);
    let data = DATA.iter().map(PathBuf::from);
    Some(Inventory {
        driver,
        candidates,
        left: Vec::new(),
        own: Default::default(),
        files: data.filter(|path| host.exists(path)).collect(),
        nodes: vec![PathBuf::from(KFD)],
        aliases: &[],
        places: PLACES,
        backends: Vec::new(),
        vital: &["libhsa-runtime64.so.1"],
        notes: Vec::new(),
    })
}

/// Returns the Python files beside a Python program, which looks for them there.
fn modules(host: &Host, program: &Candidate) -> Vec<Candidate> {
    let Some(directory) = program.path.parent().filter(|_| is_python(&program.path)) else {
        return Vec::new();
    };
    let names = host.names(directory).into_iter();
    let paths = names.map(|name| (directory.join(&name), name));
    let others = paths.filter(|(path, _)| is_python(path) && *path != program.path);
    let candidate = |(path, name)| Candidate {
        name,
        path,
        class: Class::Program,
        family: None,
    };
    others.map(candidate).collect()
}

fn is_python(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "py")
}

/// Returns the class of a library, and the library that decides for its family, by its name.
fn sort(name: &str) -> Option<(Class, Option<&'static str>)> {
    let known = LIBRARIES
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix));
    known.map(|(_, family)| (Class::Dispatch, *family))
}
