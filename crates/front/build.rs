//! Builds the program of the built-in image, `embedded/hello.rs`, and sets the order of functions
//! in `front` itself.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    lay_out();
    let source = "embedded/hello.rs";
    println!("cargo::rerun-if-changed={source}");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let output = Path::new(&variable("OUT_DIR")).join("hello");
    let status = Command::new(variable("RUSTC"))
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "bin",
            "--target",
            &variable("TARGET"),
        ])
        .args([
            "-C",
            "panic=abort",
            "-C",
            "opt-level=s",
            "-C",
            "strip=symbols",
        ])
        .args([
            "-C",
            "relocation-model=static",
            "-C",
            "target-feature=+crt-static",
        ])
        .args([
            "-C",
            "link-args=-nostartfiles -nostdlib -static -Wl,--build-id=none",
        ])
        .arg("-o")
        .arg(&output)
        .arg(source)
        .status()
        .expect("rustc can be started");
    assert!(status.success(), "rustc could not build {source}");
}

/// Makes the linker put the functions of a launch next to each other in a release build.
fn lay_out() {
    let script = "launch.ld";
    println!("cargo::rerun-if-changed={script}");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    if variable("PROFILE") == "release" {
        let script = Path::new(&variable("CARGO_MANIFEST_DIR")).join(script);
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
}
