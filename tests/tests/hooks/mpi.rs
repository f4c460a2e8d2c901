//! The hook for MPI: the host's library stands in for the image's.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Bundle, fixture, home, keep_below, program, run, succeed};

use super::{CRUN, RUNC, asking, by_hand};

/// Returns MPI's hook, with the host's library from a prefix of its own.
fn mpi_hooks(prefix: Option<&str>) -> Value {
    let prefix = prefix.map(|name| fixture("mpi").join(name));
    let mut args = vec![json!("slipway-hook"), json!("mpi")];
    args.extend(
        prefix
            .iter()
            .flat_map(|prefix| [json!("--prefix"), json!(prefix)]),
    );
    json!({"createRuntime": [{"path": program("slipway-hook"), "args": args}]})
}

fn asks_for_mpi() -> Value {
    json!({"com.hooks.mpi.enabled": "true"})
}

#[test]
fn mpis_has_the_hosts_library_stand_in() {
    let home = home();
    let image = home.path().join("image");
    succeed(
        Command::new("cp")
            .arg("-al")
            .arg(fixture("mpich"))
            .arg(&image),
    );
    for runtime in [program("slipway"), RUNC.into(), CRUN.into()] {
        the_hosts_library_is_used(&runtime, &image);
    }
    an_image_without_one_is_refused();
    podman_takes_the_administrators_file(home.path(), &image);
}

fn the_hosts_library_is_used(runtime: &Path, image: &Path) {
    let intel = fixture("mpi")
        .join("impi_rt/lib/libmpi.so.12")
        .display()
        .to_string();
    let of = |prefix, annotations: &Value, script: &str| {
        let bundle = Bundle::new(&["sh", "-c", script], |spec| {
            asking(spec, image, &[], mpi_hooks(prefix));
            spec["annotations"] = annotations.clone();
        });
        by_hand(runtime, &bundle)
    };
    let what = runtime.display();
    let swapped = of(Some("impi_rt"), &asks_for_mpi(), "ldd /usr/bin/hello");
    let line = format!("libmpich.so.12 => {intel} ");
    assert!(swapped.stdout.contains(&line), "{what}: {swapped:?}");
    let own = of(Some("impi_rt"), &json!({}), "ldd /usr/bin/hello");
    assert!(
        own.stdout.contains("libmpich.so.12 => /lib/"),
        "{what}: {own:?}"
    );
    // A job within the container, by Debian's older library.
    let job = of(None, &asks_for_mpi(), "mpirun -np 2 hello");
    assert_eq!(
        job.stdout.matches(" of 2, sum 1: MPICH Version:").count(),
        2,
        "{what}: {job:?}"
    );
    assert!(!job.stdout.contains("4.2"), "{what}: {job:?}");
}

fn an_image_without_one_is_refused() {
    let musl = Bundle::new(&["hello"], |spec| {
        asking(spec, &fixture("musl"), &[], mpi_hooks(None));
        spec["annotations"] = asks_for_mpi();
    });
    let refused = by_hand(&program("slipway"), &musl);
    let words = "slipway-hook mpi: the host's MPI cannot replace the image's: it has none";
    assert!(
        refused.code != 0 && refused.stderr.contains(words),
        "{refused:?}"
    );
}

/// The file is the one that an administrator copies.
fn podman_takes_the_administrators_file(home: &Path, image: &Path) {
    let directory = home.join("hooks.d");
    fs::create_dir(&directory).unwrap();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read(top.join("integration/mpi/slipway-mpi.json")).unwrap();
    let mut file: Value = serde_json::from_slice(&text).unwrap();
    file["hook"]["path"] = program("slipway-hook").display().to_string().into();
    fs::write(directory.join("slipway-mpi.json"), file.to_string()).unwrap();
    for (annotations, own) in [
        (&["--annotation", "com.hooks.mpi.enabled=true"][..], false),
        (&[], true),
    ] {
        let mut podman = Command::new("podman");
        keep_below(&mut podman, home)
            .arg("--hooks-dir")
            .arg(&directory)
            .arg("--runtime")
            .arg(program("slipway"))
            .args(["run", "--rm", "--network", "none"]);
        podman
            .args(annotations)
            .arg("--rootfs")
            .arg(image)
            .args(["mpirun", "-np", "2", "hello"]);
        let job = run(&mut podman);
        assert_eq!(
            job.stdout.matches(" of 2, sum 1: MPICH Version:").count(),
            2,
            "{job:?}"
        );
        assert_eq!(job.stdout.contains("4.2"), own, "{job:?}");
    }
}
