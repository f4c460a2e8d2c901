//! The programs in a root file system that contains nothing but them and an image, as a user that
//! is in no database.

use std::fs;
use std::process::Command;

use tests::{fixture, open_to_all, program, run};

#[test]
fn front_needs_nothing_but_a_kernel() {
    let root = tempfile::tempdir().unwrap();
    for directory in ["proc", "sys", "dev", "tmp", "bin"] {
        fs::create_dir(root.path().join(directory)).unwrap();
    }
    open_to_all(root.path());
    for name in ["front", "slipway"] {
        fs::copy(program(name), root.path().join("bin").join(name)).unwrap();
    }
    fs::copy(fixture("bb.sif"), root.path().join("bb.sif")).unwrap();
    let there = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enter"));
        run(command.arg(root.path()).arg("54321").args(words))
    };
    let id = there(&["/bin/front", "exec", "/bb.sif", "id", "-u"]);
    assert_eq!((id.stdout.as_str(), id.code), ("54321\n", 0), "{id:?}");
    let name = there(&[
        "/bin/front",
        "exec",
        "/bb.sif",
        "tail",
        "-n",
        "1",
        "/etc/passwd",
    ]);
    assert_eq!(name.stdout, "54321:x:54321:54321::/:/bin/sh\n", "{name:?}");
    let built_in = there(&["/bin/front", "run"]);
    assert!(built_in.stdout.contains("user       54321"), "{built_in:?}");
    let version = there(&["/bin/slipway", "--version"]);
    assert!(
        version.stdout.starts_with("slipway version "),
        "{version:?}"
    );
}
