//! Every source of images, as an ordinary user.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{
    Killed, Outcome, TestDirectory, archive, fixture, front, is_bb, open_to_all, run, saved,
    succeed, wait_for,
};

/// Runs an image twice; the second run uses the cache.
fn runs(place: &TestDirectory, source: &str) {
    is_bb(&place.exec(source));
    let again = run(&mut place.front(&["exec", source, "cat", "/etc/os-release"]));
    is_bb(&again);
}

fn ext(place: &TestDirectory, kind: &str) -> String {
    let raw = place.file("raw");
    succeed(Command::new("truncate").args(["-s", "16M", &raw]));
    succeed(
        Command::new(format!("/usr/sbin/mkfs.{kind}"))
            .args(["-q", "-F", "-d"])
            .arg(fixture("bb"))
            .arg(&raw),
    );
    raw
}

#[test]
fn files_and_directories() {
    let place = TestDirectory::new();
    let bb = fixture("bb");
    runs(&place, &bb.display().to_string());
    runs(&place, &fixture("bb.sif").display().to_string());
    let squashfs = place.file("bb.sqsh");
    succeed(
        Command::new("mksquashfs")
            .arg(&bb)
            .args([&squashfs, "-quiet", "-no-progress"]),
    );
    runs(&place, &squashfs);
    // As Singularity 2 wrote them: behind a line that makes them programs.
    let launch = b"#!/usr/bin/env run-singularity\n";
    let simg = place.file("bb.simg");
    fs::write(&simg, [&launch[..], &fs::read(&squashfs).unwrap()].concat()).unwrap();
    runs(&place, &simg);
    for kind in ["ext2", "ext3", "ext4"] {
        let raw = ext(&place, kind);
        runs(&place, &raw);
        let img = place.file(&format!("{kind}.img"));
        fs::write(&img, [&launch[..], &fs::read(&raw).unwrap()].concat()).unwrap();
        runs(&place, &img);
    }
    // A SIF with such a partition.
    let raw = ext(&place, "ext3");
    let sif = place.file("ext.sif");
    succeed(&mut place.front(&["sif", "new", &sif]));
    succeed(&mut place.front(&[
        "sif",
        "add",
        "--datatype",
        "4",
        "--parttype",
        "2",
        "--partfs",
        "2",
        "--partarch",
        "2",
        &sif,
        &raw,
    ]));
    runs(&place, &sif);
    let built = place.file("built.sif");
    succeed(&mut place.front(&["-q", "build", &built, &raw]));
    runs(&place, &built);
}

#[test]
fn what_came_before_singularity_d_still_counts() {
    let place = TestDirectory::new();
    let root = place.path().join("root");
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(&root));
    fs::write(root.join("environment"), "export OLD=times\n").unwrap();
    fs::write(
        root.join("singularity"),
        "#!/bin/sh\necho old $OLD \"$@\"\n",
    )
    .unwrap();
    open_to_all(&root.join("singularity"));
    let raw = place.file("old.img");
    succeed(Command::new("truncate").args(["-s", "16M", &raw]));
    succeed(
        Command::new("/usr/sbin/mkfs.ext3")
            .args(["-q", "-F", "-d"])
            .arg(&root)
            .arg(&raw),
    );
    assert_eq!(
        succeed(&mut place.front(&["-q", "run", &raw, "x"])),
        "old times x\n"
    );
}

#[test]
fn layouts_and_archives() {
    let (saved, place) = (saved(), TestDirectory::new());
    let at = |name: &str| saved.path().join(name).display().to_string();
    for source in [
        format!("oci:{}", at("layout")),
        format!("oci:{}:localhost/bb:1", at("layout")),
        format!("oci-archive:{}", at("oci.tar")),
        format!("docker-archive:{}", at("docker.tar")),
        format!("docker-archive://{}", at("docker.tar")),
    ] {
        runs(&place, &source);
    }
    // Made by buildah and by skopeo, compressed by zstd and by gzip.
    let copy = |options: &[&str], to: &str| {
        let mut skopeo = Command::new("skopeo");
        skopeo
            .args(["copy", "-q", "--insecure-policy"])
            .args(options)
            .args([&format!("oci:{}", at("layout")), to]);
        succeed(&mut skopeo);
    };
    copy(
        &["--dest-compress-format", "zstd", "--dest-compress"],
        &format!("dir:{}", place.file("dir")),
    );
    let zstd = format!("oci:{}", place.file("zstd"));
    copy(
        &["--dest-compress-format", "zstd", "--dest-compress"],
        &zstd,
    );
    runs(&place, &zstd);
    let docker = place.file("docker.tar");
    copy(&[], &format!("docker-archive:{docker}:bb:2"));
    succeed(Command::new("gzip").arg(&docker));
    succeed(Command::new("chmod").args(["-R", "a+rX"]).arg(place.path()));
    runs(&place, &format!("docker-archive:{docker}.gz"));
    let storage = place.file("storage");
    let buildah = |args: &[&str]| {
        let mut buildah = Command::new("buildah");
        buildah
            .args([
                "--root",
                &storage,
                "--runroot",
                &place.file("run"),
                "--storage-driver",
                "vfs",
            ])
            .args(args)
            .stderr(Stdio::null());
        succeed(&mut buildah)
    };
    let container = buildah(&["from", "scratch"]);
    let container = container.trim();
    let tar = archive(place.path()).display().to_string();
    buildah(&["add", "-q", container, &tar, "/"]);
    let made = format!("oci-archive:{}", place.file("buildah.tar"));
    buildah(&["commit", "-q", container, &made]);
    succeed(Command::new("chmod").args(["a+r", &place.file("buildah.tar")]));
    runs(&place, &made);
    for wrong in [
        "oci:/nosuch",
        "oci-archive:/etc/passwd",
        "docker-archive:/dev/null",
    ] {
        let outcome = place.exec(wrong);
        assert_eq!(
            (outcome.code, outcome.stderr.lines().count()),
            (255, 1),
            "{outcome:?}"
        );
    }
}

#[test]
fn the_docker_daemon() {
    let place = TestDirectory::new();
    let file = |name: &str| place.file(name);
    let socket = file("docker.sock");
    let config = serde_json::json!({
        "data-root": file("data"), "exec-root": file("exec"), "pidfile": file("pid"),
        "hosts": [format!("unix://{socket}")], "iptables": false, "ip6tables": false, "bridge": "none",
        "storage-driver": "vfs", "containerd-namespace": "slipway-sources", "log-level": "error",
    });
    fs::write(file("daemon.json"), config.to_string()).unwrap();
    let log = fs::File::create(file("log")).unwrap();
    let dockerd = Command::new("dockerd")
        .args(["--config-file", &file("daemon.json")])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut dockerd = Killed(dockerd);
    let host = format!("unix://{socket}");
    let docker = |args: &[&str]| {
        let mut command = Command::new("docker");
        command.args(["--host", &host]).args(args);
        command
    };
    wait_for("dockerd", Duration::from_secs(60), || {
        run(&mut docker(&["version"])).code == 0
    });
    let tar = archive(place.path()).display().to_string();
    succeed(&mut docker(&["import", &tar, "bb:1"]));
    // As for a member of the group docker.
    succeed(Command::new("chmod").args(["666", &socket]));
    let exec = |args: &[&str]| {
        let mut command = place.front(&["-q", "exec"]);
        command.args(args).args(["cat", "/etc/os-release"]);
        run(command.env("DOCKER_HOST", &host))
    };
    is_bb(&exec(&["docker-daemon:bb:1"]));
    is_bb(&exec(&["docker-daemon://bb:1"]));
    is_bb(&exec(&["--docker-host", &host, "docker-daemon:bb:1"]));
    assert_eq!(place.kept("images").len(), 1);
    let outcome = exec(&["docker-daemon:nosuch:1"]);
    assert!(
        outcome
            .stderr
            .contains("the docker daemon has none of that name"),
        "{outcome:?}"
    );
    // Ended gracefully, so that it unmounts its mounts.
    succeed(Command::new("kill").arg(dockerd.0.id().to_string()));
    let _ = dockerd.0.wait();
    is_bb(&Outcome {
        stderr: String::new(),
        ..exec(&["docker-daemon:bb:1"])
    });
    let other = TestDirectory::new();
    let outcome = run(other
        .front(&["-q", "exec", "docker-daemon:bb:1", "true"])
        .env("DOCKER_HOST", &host));
    assert_eq!(
        (outcome.code, outcome.stderr.lines().count()),
        (255, 1),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("cannot be reached"), "{outcome:?}");
}

/// Serves the files of a directory.
fn serve(directory: &Path) -> (Killed, u16) {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = Command::new("busybox")
        .args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h"])
        .arg(directory)
        .spawn()
        .unwrap();
    wait_for("httpd", Duration::from_secs(10), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (Killed(server), port)
}

#[test]
fn instances() {
    let place = TestDirectory::new();
    let image = fixture("bb.sif").display().to_string();
    succeed(&mut place.front(&["-q", "instance", "start", &image, "source"]));
    runs(&place, "instance://source");
    succeed(&mut place.front(&["-q", "instance", "stop", "source"]));
}

#[test]
fn addresses_and_libraries() {
    let place = TestDirectory::new();
    let files = place.path().join("files");
    let library = files.join("v1/imagefile/library/default");
    fs::create_dir_all(&library).unwrap();
    fs::copy(fixture("bb.sif"), files.join("bb.sif")).unwrap();
    fs::copy(fixture("bb.sif"), library.join("bb:1")).unwrap();
    fs::write(files.join("page.html"), "<html>not here</html>").unwrap();
    let (server, port) = serve(&files);
    let address = format!("http://127.0.0.1:{port}");
    runs(&place, &format!("{address}/bb.sif"));
    assert_eq!(place.kept("net").len(), 1);
    succeed(&mut place.front(&["-q", "pull", &format!("{address}/bb.sif")]));
    assert!(fs::read(place.file("bb.sif")).unwrap() == fs::read(fixture("bb.sif")).unwrap());
    let refused = |image: &str, words: &str| {
        let outcome = place.exec(image);
        assert_eq!(
            (outcome.code, outcome.stderr.lines().count()),
            (255, 1),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains(words), "{outcome:?}");
    };
    refused(&format!("{address}/nosuch.sif"), "none of that name");
    refused(&format!("{address}/page.html"), "there is no SIF");
    refused("library://bb:1", "no library is configured");
    refused("shub://x/y", "was closed in 2021");
    refused("instance://nosuch", "no instance found with name nosuch");
    refused("nosuch://x", "no such kind of image");
    let named = [
        "-q",
        "exec",
        "--library",
        &address,
        "library://bb:1",
        "cat",
        "/etc/os-release",
    ];
    is_bb(&run(&mut place.front(&named)));
    fs::write(
        place.file("front.toml"),
        format!("library = \"{address}\"\n"),
    )
    .unwrap();
    let mut by_site = place.front(&[
        "-q",
        "exec",
        "library://library/default/bb:1",
        "cat",
        "/etc/os-release",
    ]);
    is_bb(&run(by_site.env("FRONT_CONFIG", place.file("front.toml"))));
    // An image that is gone from the network is still in the cache.
    drop(server);
    let outcome = run(&mut place.front(&[
        "exec",
        &format!("{address}/bb.sif"),
        "cat",
        "/etc/os-release",
    ]));
    assert_eq!(outcome.stdout, "NAME=bb\n", "{outcome:?}");
    assert!(
        outcome.stderr.contains("using what it was when last seen"),
        "{outcome:?}"
    );
}

#[test]
fn singularity_976_an_image_without_a_shell_runs_its_words() {
    let place = tests::home();
    let layout = place.path().join("layout").display().to_string();
    let image = format!("{layout}:latest");
    let umoci = |args: &[&str]| succeed(Command::new("umoci").args(args));
    umoci(&["init", "--layout", &layout]);
    umoci(&["new", "--image", &image]);
    let busybox = fixture("bb").join("bin/busybox").display().to_string();
    umoci(&["insert", "--image", &image, &busybox, "/busybox"]);
    let run_with = |config: &[&str], args: &[&str]| {
        let clear = [
            "config",
            "--image",
            &image,
            "--clear=config.entrypoint",
            "--clear=config.cmd",
        ];
        umoci(&[&clear, config].concat());
        succeed(Command::new("chmod").args(["-R", "a+rX", &layout]));
        let source = format!("oci:{image}");
        run(&mut front([&["-q", "run", &source], args].concat()))
    };
    let entrypoint = ["--config.entrypoint=/busybox", "--config.entrypoint=echo"];
    let command = ["--config.cmd=it's", "--config.cmd=a  b"];
    let both = [entrypoint, command].concat();
    for (config, args, expected) in [
        (&both[..], &[][..], "it's a  b\n"),
        (&both, &["x y"], "x y\n"),
        (&entrypoint, &[], "\n"),
        (&entrypoint, &["z"], "z\n"),
        (
            &[
                "--config.cmd=/busybox",
                "--config.cmd=echo",
                "--config.cmd=$HOME",
            ],
            &[],
            "$HOME\n",
        ),
        (&command, &["/busybox", "echo", "q"], "q\n"),
    ] {
        let outcome = run_with(config, args);
        assert_eq!(
            (outcome.stdout.as_str(), outcome.code),
            (expected, 0),
            "{config:?} {args:?}: {outcome:?}"
        );
    }
    // There is nothing to run, and one line says so.
    let outcome = run_with(&[], &[]);
    assert_eq!(
        (outcome.code, outcome.stderr.lines().count()),
        (255, 1),
        "{outcome:?}"
    );
}
