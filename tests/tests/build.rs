//! `front build`: SIFs from what podman saves, run by `front` and by the real Apptainer.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tests::{Place, fixture, front, is_bb, run, saved, succeed, tester};

#[test]
fn what_podman_saves_becomes_a_sif() {
    let home = saved();
    let file = |name: &str| home.path().join(name).display().to_string();
    let sif = file("image.sif");
    for source in [
        format!("oci:{}", file("layout")),
        format!("oci:{}:localhost/bb:1", file("layout")),
        format!("oci-archive:{}", file("oci.tar")),
        format!("docker-archive:{}", file("docker.tar")),
        format!("docker-archive:{}:localhost/bb:1", file("docker.tar")),
    ] {
        succeed(&mut front(["-q", "build", "-F", &sif, &source]));
        assert_eq!(
            succeed(&mut front(["run", &sif])),
            "it's $HOME\n",
            "{source}"
        );
        assert_eq!(
            succeed(&mut front(["run", &sif, "a  b", "c"])),
            "it's a  b c\n"
        );
        let told = succeed(&mut front(["exec", &sif, "sh", "-c", "echo \"$TOLD\""]));
        assert_eq!(told, "a\\ \\\"b\\\"\n", "podman keeps the backslashes");
        assert_eq!(
            succeed(&mut front(["exec", &sif, "cat", "/etc/os-release"])),
            "NAME=bb\n"
        );
    }
    let apptainer = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enter"));
        command
            .arg(fixture("peers"))
            .arg(tester().to_string())
            .arg("/usr/bin/apptainer")
            .args(args);
        succeed(&mut command)
    };
    let there = format!(
        "/tmp/host/{}/image.sif",
        home.path().file_name().unwrap().display()
    );
    assert_eq!(
        apptainer(&["exec", &there, "cat", "/etc/os-release"]),
        "NAME=bb\n"
    );
    assert_eq!(apptainer(&["run", &there, "x"]), "it's x\n");
    let labels = apptainer(&["inspect", &there]);
    for label in [
        "org.example.of: us",
        "org.label-schema.build-arch: amd64",
        "org.label-schema.usage.singularity.deffile.bootstrap: docker-archive",
    ] {
        assert!(labels.contains(label), "{labels}");
    }
    let objects = apptainer(&["sif", "list", &there]);
    for object in ["Def.FILE", "JSON.Generic", "FS (Squashfs/*System/amd64)"] {
        assert!(objects.contains(object), "{objects}");
    }
}

#[test]
fn the_same_source_at_the_same_time_is_the_same_sif() {
    let home = saved();
    let file = |name: &str| home.path().join(name).display().to_string();
    let source = format!("oci:{}", file("layout"));
    let build = |name: &str, time: &str| {
        succeed(front(["-q", "build", &file(name), &source]).env("SOURCE_DATE_EPOCH", time));
        fs::read(file(name)).unwrap()
    };
    let first = build("first.sif", "1000000000");
    assert!(first == build("second.sif", "1000000000"));
    assert!(first != build("third.sif", "1000000001"));
    let outcome = run(&mut front(["build", &file("first.sif"), &source]));
    assert_eq!(outcome.code, 255, "{outcome:?}");
    assert!(
        outcome.stderr.contains("exists; give --force"),
        "{outcome:?}"
    );
    let outcome = run(&mut front(["build", &file("new.sif"), "oci:/nosuch"]));
    assert!(
        outcome.stderr.contains("/nosuch/index.json: no such file"),
        "{outcome:?}"
    );
    assert!(!Path::new(&file("new.sif")).exists());
}

#[test]
fn what_is_run_from_an_archive_is_converted_once() {
    let home = saved();
    let file = |name: &str| home.path().join(name).display().to_string();
    let sources = [
        format!("oci:{}", file("layout")),
        format!("oci-archive:{}", file("oci.tar")),
        format!("docker-archive:{}", file("docker.tar")),
    ];
    let exec = |source: &str, cache: &str| {
        let mut command = front(["exec", source, "cat", "/etc/os-release"]);
        command.env("FRONT_CACHEDIR", file(cache));
        command
    };
    for (number, source) in sources.iter().enumerate() {
        let cache = format!("cache{number}");
        let first = run(&mut exec(source, &cache));
        assert_eq!(
            (first.stdout.as_str(), first.code),
            ("NAME=bb\n", 0),
            "{first:?}"
        );
        assert!(first.stderr.contains("Converting"), "{first:?}");
        let second = run(&mut exec(source, &cache));
        assert_eq!(second.stdout, "NAME=bb\n");
        assert_eq!(second.stderr, "", "{source}");
    }
    let children: Vec<_> = (0..32)
        .map(|_| {
            let mut command = exec(&sources[0], "cache");
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut conversions = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "NAME=bb\n",
            "{output:?}"
        );
        conversions += usize::from(!output.stderr.is_empty());
    }
    assert_eq!(conversions, 1);
    let kept = fs::read_dir(home.path().join("cache/front/images")).unwrap();
    assert_eq!(kept.count(), 1);
}

#[test]
fn a_wrong_architecture_is_overridden_by_the_user() {
    let (place, home) = (Place::new(), saved());
    let from = |kind: &str, name: &str| format!("{kind}:{}", home.path().join(name).display());
    let (wrong, right) = (place.file("wrong.sif"), place.file("right.sif"));
    let (oci, docker) = (
        from("oci-archive", "oci.tar"),
        from("docker-archive", "docker.tar"),
    );
    for (from, word) in [(&oci, "--arch=arm64"), (&docker, "--platform=linux/arm64")] {
        let built = run(&mut place.front(&["build", "-F", word, &wrong, from]));
        assert_eq!(built.code, 0, "{built:?}");
        let told = "the image says that it is for amd64; it is taken to be for arm64";
        assert!(built.stderr.contains(told), "{built:?}");
        let outcome = place.exec(&wrong);
        assert_eq!(outcome.code, 255, "{outcome:?}");
        assert!(
            outcome.stderr.contains("`front build --arch amd64"),
            "{outcome:?}"
        );
        // An image of another architecture keeps it, if nothing is said.
        succeed(&mut place.front(&["build", "-F", &right, &wrong]));
        assert_eq!(place.exec(&right).code, 255);
        succeed(&mut place.front(&["build", "-F", "--arch", "amd64", &right, &wrong]));
        is_bb(&place.exec(&right));
        // What is kept for one architecture is not taken for the other.
        is_bb(&place.exec(from));
    }
}
