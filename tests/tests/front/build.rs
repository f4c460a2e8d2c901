//! `front build`: SIFs from images that podman saves, run by `front` and by the real Apptainer.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tests::{TestDirectory, fixture, front, is_bb, run, saved, succeed, tester};

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
        outcome.stderr.contains("exists; use --force"),
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
    let (place, home) = (TestDirectory::new(), saved());
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
        // An image of another architecture keeps it if no flag is given.
        succeed(&mut place.front(&["build", "-F", &right, &wrong]));
        assert_eq!(place.exec(&right).code, 255);
        succeed(&mut place.front(&["build", "-F", "--arch", "amd64", &right, &wrong]));
        is_bb(&place.exec(&right));
        // The cache keeps the architectures apart.
        is_bb(&place.exec(from));
    }
}

/// Runs a command that must fail with one line, and returns the line.
fn refused(command: &mut Command) -> String {
    let outcome = run(command);
    assert_eq!(outcome.code, 255, "{outcome:?}");
    let lines: Vec<&str> = { outcome.stderr.lines() }
        .filter(|line| line.starts_with("FATAL:"))
        .collect();
    assert_eq!(lines.len(), 1, "{outcome:?}");
    lines[0].trim_start_matches("FATAL:").trim().to_owned()
}

#[test]
fn what_cannot_be_written_is_named_by_the_user() {
    let (place, home) = (TestDirectory::new(), saved());
    let source = format!("oci:{}", home.path().join("layout").display());
    let full = place.file("full");
    fs::create_dir(&full).unwrap();
    let mount = |flags: &[&str]| succeed(Command::new("mount").args(flags).arg(&full));
    mount(&["-t", "tmpfs", "-o", "size=1m,mode=777", "none"]);
    let _unmounted = Unmounted(full.clone());
    for (directory, why) in [
        ("/root", "permission denied"),
        (&full, "o space left on device"),
    ] {
        let at = |name: &str| format!("{directory}/{name}");
        for (args, name) in [
            (vec!["pull", "--dir", directory, &source], at("layout.sif")),
            (vec!["build", &at("x.sif"), &source], at("x.sif")),
            (vec!["build", "--sandbox", &at("x"), &source], at("x")),
        ] {
            let said = refused(&mut place.front(&args));
            assert!(said.starts_with(&format!("{name}: ")), "{args:?}: {said}");
            assert!(said.ends_with(why), "{args:?}: {said}");
            assert!(
                !said.contains(".front-") && !said.contains("cache"),
                "{said}"
            );
        }
    }
    assert_eq!(fs::read_dir(&full).unwrap().count(), 0);
    // Nothing is fetched for it, either.
    let other = TestDirectory::new();
    refused(&mut other.front(&["pull", "--dir", "/root", &source]));
    assert_eq!(other.kept("images"), [""; 0]);
}

struct Unmounted(String);

impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_directory_of_the_users_own_is_not_overwritten() {
    let (place, home) = (TestDirectory::new(), saved());
    let source = format!("oci:{}", home.path().join("layout").display());
    let own = place.file("own");
    succeed(
        tests::as_tester("sh").args(["-c", &format!("mkdir -p {own}/bin; touch {own}/thesis")]),
    );
    let said = refused(&mut place.front(&["build", "-F", "--sandbox", &own, &source]));
    assert!(
        said.contains("no image") && Path::new(&own).join("thesis").exists(),
        "{said}"
    );
    let image = place.file("image");
    for _ in 0..2 {
        succeed(&mut place.front(&["-q", "build", "-F", "--sandbox", &image, &source]));
    }
}

#[test]
fn singularity_5962_a_cache_that_cannot_be_made_is_named() {
    let home = saved();
    let source = format!("oci:{}", home.path().join("layout").display());
    // A user without a home, whose account is unknown.
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        "7777",
        "--regid",
        "7777",
        "--clear-groups",
        "env",
        "-i",
        "PATH=/usr/bin:/bin",
    ]);
    command
        .arg(tests::program("front"))
        .args(["exec", &source, "true"]);
    let said = refused(command.current_dir("/"));
    assert!(said.contains("/.cache/front: permission denied"), "{said}");
    assert!(said.contains("APPTAINER_CACHEDIR"), "{said}");
}
