//! What this machine runs.

use oci::Platform;

/// Returns what images are chosen by on this machine.
#[must_use]
pub fn host_platform() -> Platform {
    Platform {
        architecture: host_architecture()
            .unwrap_or(std::env::consts::ARCH)
            .to_owned(),
        variants: variants().into_iter().map(str::to_owned).collect(),
    }
}

/// The levels of x86-64 that the processor has, the best first (x86-64 psABI, 3.1.1).
#[cfg(target_arch = "x86_64")]
fn variants() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse4.2") && has!("ssse3") && has!("popcnt") && has!("cmpxchg16b");
    let v3 = v2 && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("movbe");
    let v4 = v3
        && has!("avx512f")
        && has!("avx512bw")
        && has!("avx512cd")
        && has!("avx512dq")
        && has!("avx512vl");
    let levels = [(v4, "v4"), (v3, "v3"), (v2, "v2"), (true, "v1")];
    levels
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn variants() -> Vec<&'static str> {
    match std::env::consts::ARCH {
        "aarch64" => vec!["v8"],
        _ => Vec::new(),
    }
}

/// Returns Go's name for the architecture this program was built for.
pub(crate) fn host_architecture() -> Option<&'static str> {
    match std::env::consts::ARCH {
        "x86" => Some("386"),
        "x86_64" => Some("amd64"),
        "arm" => Some("arm"),
        "aarch64" => Some("arm64"),
        "powerpc64" => Some(if cfg!(target_endian = "little") {
            "ppc64le"
        } else {
            "ppc64"
        }),
        "s390x" => Some("s390x"),
        "riscv64" => Some("riscv64"),
        "loongarch64" => Some("loong64"),
        _ => None,
    }
}
