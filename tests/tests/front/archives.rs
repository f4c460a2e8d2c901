//! Layers in all forms that a tar can have, read as the real podman reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use tests::{program, run, succeed};

/// The layers that podman refuses and `front` reads: names that occur twice in a layer, and old
/// kinds of entries.
const REFUSED_BY_PODMAN: [&str; 11] = [
    "directory_then_file",
    "directory_twice",
    "file_then_directory",
    "file_twice",
    "full_directory_then_file",
    "hard_link_is_replaced",
    "kinds",
    "link_then_directory",
    "link_then_file",
    "sparse_gnu",
    "sparse_oldgnu",
];

/// Layers that podman's `vfs` unpacks onto the layers below, and so through their links. Its
/// `overlay`, which is not available in every container in which tests run, has a directory there,
/// and so have we.
const OF_THE_DRIVER: [&str; 1] = ["through_a_lower_link"];

fn script(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("archives")
            .join(name),
    );
    command
}

fn tree(directory: &Path) -> String {
    succeed(script("tree.py").arg(directory))
}

/// Returns the tree as podman unpacks it; `None` if podman refuses the layout.
fn of_podman(layout: &Path) -> Option<String> {
    // Without an earlier image: podman unpacks its own copy again, which can fail.
    let storage = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = |args: &[&str]| {
        let mut command = Command::new("podman");
        for (flag, name) in [
            ("--root", "storage"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
        ] {
            command.arg(flag).arg(storage.path().join(name));
        }
        command.args([
            "--storage-driver=vfs",
            "--events-backend=file",
            "--cgroup-manager=cgroupfs",
        ]);
        // A relative path: podman would make the image's name from a whole path.
        run(command.args(args).current_dir(layout.parent().unwrap()))
    };
    let name = layout.file_name().unwrap().to_str().unwrap();
    let pulled = podman(&["pull", "--quiet", &format!("oci:{name}:latest")]);
    if pulled.code != 0 {
        return None;
    }
    let image = pulled.stdout.trim();
    let mounted = podman(&["image", "mount", image]);
    let tree = tree(Path::new(mounted.stdout.trim()));
    podman(&["image", "unmount", image]);
    Some(tree)
}

fn of_front(layout: &Path) -> String {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let sandbox = place.path().join("sandbox");
    let source = format!("oci:{}:latest", layout.display());
    let mut front = Command::new(program("front"));
    succeed(
        front
            .args(["-q", "build", "--sandbox"])
            .arg(&sandbox)
            .arg(source),
    );
    tree(&sandbox)
}

#[test]
fn layers_are_read_as_podman_reads_them() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let count = succeed(script("make.py").arg(place.path()));
    let mut differing = BTreeMap::new();
    let (mut refused, mut all) = (Vec::new(), 0);
    for entry in fs::read_dir(place.path()).unwrap() {
        let layout = entry.unwrap().path();
        let name = layout.file_name().unwrap().to_str().unwrap().to_owned();
        all += 1;
        let ours = of_front(&layout);
        assert!(!ours.is_empty(), "{name}");
        match of_podman(&layout) {
            None => refused.push(name),
            Some(theirs) if theirs != ours => {
                differing.insert(name, format!("podman:\n{theirs}front:\n{ours}"));
            }
            Some(_) => {}
        }
    }
    assert_eq!(count.trim(), all.to_string());
    refused.sort();
    assert_eq!(refused, REFUSED_BY_PODMAN);
    let names: Vec<&str> = differing.keys().map(String::as_str).collect();
    assert_eq!(names, OF_THE_DRIVER, "{differing:#?}");
}
