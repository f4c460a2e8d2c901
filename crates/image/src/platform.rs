//! The architecture of this machine.

/// Returns Go's name for the architecture of this program.
#[must_use]
pub fn host_architecture() -> Option<&'static str> {
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
