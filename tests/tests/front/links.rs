//! Links of an image at paths that are mounted on by default, as an ordinary user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{fixture, front, home, open_to_all, run, succeed};

/// Makes a changed copy of the smallest image.
fn sandbox(change: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf) {
    let place = home();
    let root = place.path().join("root");
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(&root));
    change(&root);
    open_to_all(place.path());
    (place, root)
}

fn exec(root: &Path, flags: &[&str], script: &str) -> tests::Outcome {
    let image = root.display().to_string();
    let words = [&["exec"], flags, &[image.as_str(), "sh", "-c", script]].concat();
    run(&mut front(words))
}

fn replace_by_link(root: &Path, path: &str, target: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&path);
    let _ = fs::remove_dir_all(&path);
    symlink(target, path).unwrap();
}

#[test]
fn apptainer_1868_the_zones_that_a_clock_links_to_stay() {
    let zone = "usr/share/zoneinfo/Etc/UTC";
    for target in [
        "/usr/share/zoneinfo/Etc/UTC",
        "../usr/share/zoneinfo/Etc/UTC",
    ] {
        let (_place, root) = sandbox(|root| {
            fs::create_dir_all(root.join(zone).parent().unwrap()).unwrap();
            fs::write(root.join(zone), "the zone\n").unwrap();
            replace_by_link(root, "etc/localtime", target);
        });
        for flags in [&[][..], &["-c"]] {
            let outcome = exec(
                &root,
                flags,
                &format!("cat /{zone}; cmp -s /etc/localtime /{zone} || echo other"),
            );
            assert_eq!(
                outcome.stdout, "the zone\nother\n",
                "{target} {flags:?}: {outcome:?}"
            );
            assert_eq!(outcome.stderr, "", "{outcome:?}");
        }
    }
}

#[test]
fn files_of_ours_replace_links_and_not_what_those_lead_to() {
    let (_place, root) = sandbox(|root| {
        fs::write(root.join("etc/of-the-image"), "of the image\n").unwrap();
        for name in ["hosts", "passwd", "group"] {
            replace_by_link(root, &format!("etc/{name}"), "of-the-image");
        }
        // As images with systemd have it.
        replace_by_link(
            root,
            "etc/resolv.conf",
            "../run/systemd/resolve/stub-resolv.conf",
        );
    });
    let outcome = exec(
        &root,
        &[],
        "cat /etc/of-the-image; id -un; test -s /etc/resolv.conf && echo resolved",
    );
    assert_eq!(
        outcome.stdout, "of the image\nslipway-tester\nresolved\n",
        "{outcome:?}"
    );
}

#[test]
fn singularity_5465_localtime_is_a_directory() {
    let (_place, by_link) = sandbox(|root| {
        fs::create_dir_all(root.join("usr/share/zone")).unwrap();
        replace_by_link(root, "etc/localtime", "/usr/share/zone");
    });
    assert_eq!(exec(&by_link, &[], "echo runs").stdout, "runs\n");
    for (path, is_directory) in [
        ("etc/localtime", true),
        ("etc/hosts", true),
        ("tmp", false),
        ("var/tmp", false),
    ] {
        let (_place, root) = sandbox(|root| {
            let path = root.join(path);
            let _ = fs::remove_file(&path);
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match is_directory {
                true => fs::create_dir(&path).unwrap(),
                false => fs::write(&path, "").unwrap(),
            }
        });
        let outcome = exec(&root, &[], "echo runs");
        assert_eq!(
            (outcome.stdout.as_str(), outcome.code),
            ("runs\n", 0),
            "{path}: {outcome:?}"
        );
        let told = format!("WARNING: not mounting on /{path}: it is ");
        assert_eq!(outcome.stderr.matches(&told).count(), 1, "{outcome:?}");
    }
    // A mount that the user requests must fit.
    let outcome = exec(&by_link, &["-B", "/etc/hosts:/etc"], "true");
    assert_eq!(outcome.code, 255, "{outcome:?}");
}

#[test]
fn sylabs_1950_a_link_between_temporary_directories_means_what_it_says() {
    let host = tempfile::tempdir_in("/tmp").unwrap();
    open_to_all(host.path());
    let name = host.path().file_name().unwrap().to_str().unwrap();
    for (link, target, shown) in [
        ("var/tmp", "/tmp", "/tmp"),
        ("var/tmp", "../tmp", "/tmp"),
        ("var/tmp", "/tmp/below", "/tmp"),
        ("tmp", "/var/tmp", "/var/tmp"),
    ] {
        let (_place, root) = sandbox(|root| {
            fs::create_dir_all(root.join("tmp")).unwrap();
            replace_by_link(root, link, target);
            fs::create_dir_all(root.join("var/tmp")).unwrap_or_default();
        });
        let of_host = fs::metadata(shown).unwrap();
        let outcome = exec(&root, &[], &format!("readlink /{link}; stat -c %i {shown}"));
        use std::os::unix::fs::MetadataExt;
        assert_eq!(
            outcome.stdout,
            format!("{target}\n{}\n", of_host.ino()),
            "{link} {target}: {outcome:?}"
        );
        if shown == "/tmp" {
            let image = root.display().to_string();
            let mut command = front(["exec", &image, "pwd"]);
            let outcome = run(command.current_dir(host.path()));
            assert_eq!(outcome.stdout, format!("/tmp/{name}\n"), "{outcome:?}");
        }
    }
}

#[test]
fn afni_194_the_hosts_etc_may_be_bound() {
    for name in ["bb", "bb.sif"] {
        for bind in ["/etc", "/etc:/etc:ro"] {
            let outcome = exec(&fixture(name), &["-B", bind], "echo runs");
            assert_eq!(
                (outcome.stdout.as_str(), outcome.code),
                ("runs\n", 0),
                "{bind}: {outcome:?}"
            );
        }
    }
}

/// Links at paths where a conversion puts directories and files, each with its target.
const CONVERTED: [(&str, &str); 7] = [
    ("var", "data/var"),
    ("etc", "/data/etc"),
    ("tmp", "var/scratch"),
    ("home", "../../data/home"),
    // The target does not exist.
    ("mnt", "/nowhere/mnt"),
    // A loop.
    ("srv", "srv"),
    ("opt", "srv/opt"),
];

#[test]
fn nixpkgs_129007_links_are_kept_in_a_conversion() {
    let (place, root) = sandbox(|root| {
        for directory in ["data", "data/home", "var"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::rename(root.join("etc"), root.join("data/etc")).unwrap();
        fs::remove_file(root.join("data/etc/hosts")).ok();
        let _ = fs::remove_dir_all(root.join("var"));
        fs::create_dir_all(root.join("data/var/scratch")).unwrap();
        fs::write(root.join("data/var/kept"), "").unwrap();
        for (name, target) in CONVERTED {
            replace_by_link(root, name, target);
        }
    });
    let path = |name: &str| place.path().join(name).display().to_string();
    let tar = path("layer.tar");
    succeed(
        Command::new("tar")
            .args(["-C", &root.display().to_string()])
            .args(["-cf", &tar, "."]),
    );
    tests::layout(Path::new(&path("layout")), &[Path::new(&tar)]);
    open_to_all(place.path());
    let layout = format!("oci:{}", path("layout"));
    let output = tests::TestDirectory::new();
    let directory = root.display().to_string();
    for (flags, from) in [
        (&[][..], layout.as_str()),
        (&["--sandbox"], &layout),
        (&[], &directory),
    ] {
        let image = output.file("built");
        let words = [&["build", "-F"], flags, &[image.as_str(), from]].concat();
        succeed(&mut front(words));
        let mut expected = String::new();
        let mut script = String::new();
        for (name, target) in CONVERTED {
            script.push_str(&format!("readlink /{name}; "));
            expected.push_str(&format!("{target}\n"));
        }
        script.push_str("cd /data; ls -d etc/hosts var/kept var/tmp");
        expected.push_str("etc/hosts\nvar/kept\nvar/tmp\n");
        let outcome = exec(Path::new(&image), &["-C"], &script);
        assert_eq!(outcome.stdout, expected, "{from} {flags:?}: {outcome:?}");
        succeed(Command::new("rm").args(["-rf", &image]));
    }
}

/// Directories that the host shares belong to the user: nothing is made there by an image's link.
#[test]
fn nothing_is_made_behind_a_link_to_the_host() {
    let shared = home();
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(shared.path(), open).unwrap();
    let target = shared.path().display().to_string();
    for name in ["etc", "var", "root"] {
        let (_place, root) = sandbox(|root| replace_by_link(root, name, &target));
        for flags in [&[][..], &["-B", "/usr/share:/root/share"]] {
            let outcome = exec(&root, flags, "true");
            let made: Vec<_> = fs::read_dir(shared.path()).unwrap().collect();
            assert!(made.is_empty(), "{name} {flags:?}: {made:?} {outcome:?}");
        }
    }
    // The container's own directories are another matter.
    let (_place, root) = sandbox(|root| replace_by_link(root, "scratch", "/tmp"));
    let flags = ["-c", "-B", "/usr/share:/scratch/share"];
    let outcome = exec(&root, &flags, "ls -d /tmp/share");
    assert_eq!(outcome.stdout, "/tmp/share\n", "{outcome:?}");
}

#[test]
fn no_cgroup_is_made_behind_a_link() {
    let groups = Path::new("/sys/fs/cgroup");
    let unified = groups.join("unified");
    let hierarchy = if unified.exists() { &unified } else { groups };
    let place = hierarchy.join(format!("link-{}", std::process::id()));
    let (_place, root) =
        sandbox(|root| replace_by_link(root, "mnt", &hierarchy.display().to_string()));
    let name = place.file_name().unwrap().display().to_string();
    // By a link, and by a path without one; as root, whom the kernel allows it.
    for at in [format!("/mnt/{name}"), place.display().to_string()] {
        let spec = format!("/usr/share:{at}");
        let mut command = Command::new(tests::program("front"));
        command.args(["exec", "-B", &spec]).arg(&root).arg("true");
        let outcome = run(&mut command);
        let made = place.exists();
        let _ = fs::remove_dir(&place);
        assert!(!made, "{at}: {outcome:?}");
        assert_eq!(outcome.code, 255, "{at}: {outcome:?}");
    }
}
