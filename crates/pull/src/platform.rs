//! The platform of this machine, by which a registry's images are chosen.

use image::host_architecture;
use oci::Platform;

/// Returns the platform for which images are chosen on this machine.
#[must_use]
pub fn host_platform() -> Platform {
    Platform {
        architecture: host_architecture()
            .unwrap_or(std::env::consts::ARCH)
            .to_owned(),
        variants: variants().into_iter().map(str::to_owned).collect(),
    }
}

/// Returns the levels of x86-64 that the processor supports, the best first (x86-64 psABI, 3.1.1).
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
