//! The cache of images: it is listed, cleaned and limited, and stays usable whatever process is
//! killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use tests::{Registry, TestDirectory, run, saved, succeed};

#[test]
fn what_is_kept_is_listed_and_cleaned() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    let image = format!("docker://{}", registry.image("bb:1"));
    let listed = succeed(&mut place.front(&["cache", "list"]));
    assert!(
        listed.starts_with("There are 0 container file(s) using 0.00 KiB and 0 oci blob file(s)"),
        "{listed}"
    );
    assert_eq!(place.exec(&image).code, 0);
    let listed = succeed(&mut place.front(&["cache", "list", "-v"]));
    assert!(
        listed.contains("There are 1 container file(s)") && listed.contains("2 oci blob file(s)"),
        "{listed}"
    );
    assert_eq!(
        listed.lines().filter(|line| line.ends_with(" oci")).count(),
        1,
        "{listed}"
    );
    assert_eq!(
        listed
            .lines()
            .filter(|line| line.ends_with(" blob"))
            .count(),
        2,
        "{listed}"
    );
    let tried = run(&mut place.front(&["cache", "clean", "-n"]));
    assert!(
        tried.stderr.contains("dry run") && tried.stderr.contains("Removing oci"),
        "{tried:?}"
    );
    assert_eq!(place.kept("images").len(), 1);
    // A type of Singularity's that does not exist here: nothing is removed.
    succeed(&mut place.front(&["-q", "cache", "clean", "-f", "--type=shub"]));
    assert_eq!(
        (place.kept("images").len(), place.kept("blobs/sha256").len()),
        (1, 2)
    );
    // By type and by age.
    succeed(&mut place.front(&["-q", "cache", "clean", "-f", "--type=blob"]));
    assert_eq!(
        (place.kept("images").len(), place.kept("blobs/sha256").len()),
        (1, 0)
    );
    succeed(&mut place.front(&["-q", "cache", "clean", "-f", "--days", "1"]));
    assert_eq!(place.kept("images").len(), 1);
    let sif = place.cache().join("images").join(&place.kept("images")[0]);
    let long_ago = SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
    fs::File::open(&sif)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    succeed(&mut place.front(&["-q", "cache", "clean", "-f", "--days", "2"]));
    assert_eq!(place.kept("images").len(), 0);
    let wrong = run(&mut place.front(&["cache", "list", "--type", "apples"]));
    assert!(
        wrong.stderr.contains("expected one of blob, oci"),
        "{wrong:?}"
    );
    assert_eq!(wrong.code, 1);
}

#[test]
fn the_cache_grows_no_larger_than_it_may() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    let layout = saved.path().join("layout");
    // Three images that differ only in their configuration. Each SIF takes a megabyte.
    for tag in ["1", "2", "3"] {
        succeed(
            Command::new("umoci")
                .args([
                    "config",
                    "--image",
                    &format!("{}:localhost/bb:1", layout.display()),
                ])
                .args(["--config.env", &format!("TAG={tag}")])
                .stderr(Stdio::null()),
        );
        registry.push(&layout, &format!("bb:{tag}"));
    }
    let exec = |tag: &str| {
        let image = format!("docker://{}", registry.image(&format!("bb:{tag}")));
        let mut command = place.front(&["-q", "exec", &image, "sh", "-c", "echo $TAG"]);
        let outcome = run(command.env("FRONT_CACHE_LIMIT", "3300K"));
        assert_eq!(
            (outcome.stdout.trim(), outcome.code),
            (tag, 0),
            "{outcome:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    for tag in ["1", "2", "3", "1", "2", "3", "3"] {
        exec(tag);
        let total: u64 = ["images", "blobs/sha256"]
            .iter()
            .flat_map(|kind| fs::read_dir(place.cache().join(kind)).unwrap())
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(total <= 3300 * 1024, "{total}");
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_bad() {
    let (saved, place) = (saved(), TestDirectory::new());
    let small = place.file("small");
    fs::create_dir(&small).unwrap();
    succeed(Command::new("mount").args([
        "-t",
        "tmpfs",
        "-o",
        "size=700k,mode=777",
        "small",
        &small,
    ]));
    let source = format!("oci:{}", saved.path().join("layout").display());
    let cache = |command: &mut Command| {
        command.env("FRONT_CACHEDIR", &small);
        run(command)
    };
    let full = cache(&mut place.front(&["-q", "exec", &source, "true"]));
    let output = format!("{small}/x.sif");
    let built = run(&mut place.front(&["-q", "build", &output, &source]));
    let left: Vec<_> = fs::read_dir(&small)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    succeed(Command::new("mount").args(["-o", "remount,size=20m", &small]));
    let after = cache(&mut place.front(&["-q", "exec", &source, "cat", "/etc/os-release"]));
    succeed(Command::new("umount").args(["-l", &small]));
    for outcome in [&full, &built] {
        assert_eq!(
            (outcome.code, outcome.stderr.lines().count()),
            (255, 1),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.to_lowercase().contains("no space left"),
            "{outcome:?}"
        );
    }
    assert_eq!(left, ["front"], "no half of a SIF");
    assert_eq!(
        (after.stdout.as_str(), after.stderr.as_str()),
        ("NAME=bb\n", "")
    );
}

/// Pseudo-random numbers, the same in each run.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn whatever_is_killed_at_whatever_moment_leaves_a_usable_cache() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    let image = format!("docker://{}", registry.image("bb:1"));
    let scratch = place.file("scratch");
    fs::create_dir(&scratch).unwrap();
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o777)).unwrap();
    let front = |args: &[&str]| {
        let mut command = place.front(&["-q"]);
        command
            .args(args)
            .env("FRONT_TMPDIR", &scratch)
            .stderr(Stdio::null());
        command
    };
    let mut chance = Chance(0x5eed_1234_5678_9abc);
    let sandbox = place.file("sandbox");
    let output = place.file("out.sif");
    let work: [&[&str]; 4] = [
        &["pull", "-F", &output, &image],
        &["build", "-F", &output, &image],
        &["build", "-F", "--sandbox", &sandbox, &image],
        &["cache", "clean", "-f"],
    ];
    for round in 0..100 {
        let mut child = front(work[round % work.len()]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(chance.next(150_000)));
        // It may have ended meanwhile.
        let _ = child.kill();
        child.wait().unwrap();
        if round % 10 == 9 {
            let outcome = place.exec(&image);
            assert_eq!(
                (outcome.stdout.as_str(), outcome.stderr.as_str()),
                ("NAME=bb\n", ""),
                "round {round}"
            );
            // Half of it is removed at the end, so that the next commands have something to make.
            if round % 20 == 9 {
                succeed(&mut front(&["cache", "clean", "-f"]));
            }
        }
    }
    // Processes whose parent was killed end by themselves.
    tests::wait_for("the last of them", Duration::from_secs(20), || {
        tests::testers_processes()
            .iter()
            .all(|(_, name)| !name.contains("mksquashfs"))
    });
    for args in work.iter().take(3) {
        succeed(&mut front(args));
    }
    assert_eq!(
        succeed(&mut front(&["exec", &output, "cat", "/etc/os-release"])),
        "NAME=bb\n"
    );
    assert_eq!(
        succeed(&mut front(&["exec", &sandbox, "cat", "/etc/os-release"])),
        "NAME=bb\n"
    );
    succeed(&mut front(&["cache", "clean", "-f"]));
    for kind in ["images", "blobs/sha256", "references"] {
        assert_eq!(place.kept(kind), [""; 0], "{kind}");
    }
    let left = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with('.') || name.starts_with("front-"))
            .collect()
    };
    assert_eq!(left(&scratch), [""; 0]);
    assert_eq!(left(&place.file("")), [""; 0]);
}
