//! Images go from a registry into the cache and into files, and from files into a registry.

use std::fs;
use std::process::{Command, Stdio};

use tests::{Registry, TestDirectory, is_bb, run, saved, succeed};

use super::{large, refused};

#[test]
fn an_image_is_pulled_once_and_run_from_the_cache() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    registry.push(&saved.path().join("layout"), "a/bb:1");
    let image = format!("docker://{}", registry.image("a/bb:1"));
    let first = run(&mut place.front(&["exec", &image, "cat", "/etc/os-release"]));
    assert_eq!(first.stdout, "NAME=bb\n", "{first:?}");
    assert!(first.stderr.contains("Converting"), "{first:?}");
    is_bb(&place.exec(&image));
    // Its digest names the same image.
    let inspected = succeed(
        Command::new("skopeo")
            .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
            .arg(&image),
    );
    let by_digest = format!("docker://{}@{}", registry.image("a/bb"), inspected.trim());
    is_bb(&place.exec(&by_digest));
    assert_eq!(place.kept("images").len(), 1);
    // A pulled file is a program.
    succeed(&mut place.front(&["-q", "pull", &image]));
    assert_eq!(
        succeed(&mut place.front(&["run", "bb_1.sif"])),
        "it's $HOME\n"
    );
    let again = run(&mut place.front(&["pull", &image]));
    assert!(again.stderr.contains("exists; use --force"), "{again:?}");
    succeed(&mut place.front(&[
        "-q",
        "pull",
        "-F",
        "--dir",
        "/tmp",
        &place.file("bb_1.sif"),
        &image,
    ]));
    succeed(&mut place.front(&["-q", "pull", "--disable-cache", "other.sif", &image]));
    assert_eq!(
        fs::read(place.file("bb_1.sif")).unwrap().len(),
        fs::read(place.file("other.sif")).unwrap().len()
    );
}

#[test]
fn nothing_is_kept_where_nothing_shall_be() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    let image = format!("docker://{}", registry.image("bb:1"));
    let scratch = place.file("scratch");
    fs::create_dir(&scratch).unwrap();
    succeed(Command::new("chmod").args(["777", &scratch]));
    let args = [
        "-q",
        "exec",
        "--disable-cache",
        &image,
        "cat",
        "/etc/os-release",
    ];
    is_bb(&run(place.front(&args).env("FRONT_TMPDIR", &scratch)));
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    assert!(!place.cache().exists());
}

#[test]
fn what_is_not_there_is_said() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    let image = |name: &str| format!("docker://{}", registry.image(name));
    refused(
        &place,
        &place.exec(&image("bb:nosuch")),
        &["bb:nosuch", "none of that name"],
    );
    refused(
        &place,
        &place.exec(&image("nosuch:1")),
        &["nosuch:1", "none of that name"],
    );
    // An index that has other architectures only.
    let layout = saved.path().join("layout");
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    index["manifests"][0]["platform"] = serde_json::json!({"os": "linux", "architecture": "s390x"});
    index["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    let text = index.to_string();
    let url = format!("http://{}/manifests/other", registry.image("v2/bb"));
    succeed(
        Command::new("curl")
            .args([
                "-fsS",
                "-X",
                "PUT",
                "-H",
                "Content-Type: application/vnd.oci.image.index.v1+json",
            ])
            .args(["-d", &text, &url]),
    );
    refused(
        &place,
        &place.exec(&image("bb:other")),
        &["no image for amd64", "s390x"],
    );
    let outcome = run(&mut place.front(&["pull", "--arch", "s390x", "x.sif", &image("bb:other")]));
    assert_eq!(
        outcome.code, 0,
        "it can be pulled all the same: {outcome:?}"
    );
}

#[test]
fn sixty_four_at_once_are_one_download() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    let layout = saved.path().join("layout");
    large(&layout);
    registry.push(&layout, "large:1");
    let image = format!("docker://{}", registry.image("large:1"));
    let children: Vec<_> = (0..64)
        .map(|_| {
            let mut command = place.front(&["-q", "exec", &image, "cat", "/etc/os-release"]);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        is_bb(&child.wait_with_output().unwrap().into());
    }
    let layers = 2;
    let config = 1;
    assert_eq!(registry.served("/blobs/"), layers + config);
    assert_eq!(place.kept("images").len(), 1);
    assert_eq!(place.kept("blobs/sha256").len(), layers + config);
}

#[test]
fn a_sif_goes_to_a_registry_and_comes_back() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    let layout = format!("oci:{}", saved.path().join("layout").display());
    let sif = place.file("bb.sif");
    succeed(&mut place.front(&["-q", "build", &sif, &layout]));
    let target = format!("oras://{}", registry.image("sifs/bb:1"));
    succeed(&mut place.front(&["-q", "push", &sif, &target]));
    is_bb(&place.exec(&target));
    is_bb(&place.exec(&target));
    succeed(&mut place.front(&["-q", "pull", "back.sif", &target]));
    assert!(fs::read(&sif).unwrap() == fs::read(place.file("back.sif")).unwrap());
    // An image with layers, unchanged.
    let docker = format!("docker://{}", registry.image("pushed:1"));
    succeed(&mut place.front(&["-q", "push", &layout, &docker]));
    is_bb(&place.exec(&docker));
    let archive = format!(
        "docker-archive:{}",
        saved.path().join("docker.tar").display()
    );
    let docker = format!("docker://{}", registry.image("pushed:2"));
    succeed(&mut place.front(&["-q", "push", &archive, &docker]));
    is_bb(&place.exec(&docker));
    let labels = succeed(&mut place.front(&["-q", "inspect", &docker]));
    assert!(labels.contains("org.example.of: us"), "{labels}");
    // An image that is not a SIF is not mistaken for one.
    let wrong = format!("oras://{}", registry.image("pushed:1"));
    let outcome = place.exec(&wrong);
    assert!(outcome.stderr.contains("there is no SIF"), "{outcome:?}");
    let outcome = run(&mut place.front(&["push", &sif, &docker]));
    assert!(
        outcome.stderr.contains("a SIF goes to oras://"),
        "{outcome:?}"
    );
}
