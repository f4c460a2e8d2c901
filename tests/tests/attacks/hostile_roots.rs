//! Root file systems whose `/dev`, `/proc` and mount points are links: CVE-2021-30465, 2023-27561,
//! 2025-31133, 2025-52565, 2025-54867, 2025-62161, 2026-41579, 2026-47766, 2026-88264, 2026-88265.
//! Nothing outside changes, whether a container is made or not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use tests::{front, run, succeed};

use crate::own_root;

/// A preparation of a root file system. `outside` is a directory of the host.
type Plant = fn(root: &Path, outside: &Path);
type Change = fn(&mut Value);

fn replace(root: &Path, name: &str, target: impl AsRef<Path>) {
    let path = root.join(name);
    let _ = fs::remove_file(&path);
    let _ = fs::remove_dir_all(&path);
    symlink(target, path).unwrap();
}

/// Removes the mount on `/dev`, so that the image's own is used.
fn without_dev(spec: &mut Value) {
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
}

fn nothing(_: &mut Value) {}

fn bind(spec: &mut Value) {
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.push(
        json!({"destination": "/data/x", "type": "bind", "source": "/etc", "options": ["bind"]}),
    );
}

/// Binds the directory that `make_outside` makes, after `/dev` is mounted, and asks for a device.
fn bind_outside(spec: &mut Value) {
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.push(
        json!({"destination": "/data", "type": "bind", "source": "outside", "options": ["rbind"]}),
    );
    spec["linux"]["devices"] =
        json!([{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200}]);
}

fn roots() -> Vec<(&'static str, Plant, Change)> {
    vec![
        (
            "a mount point is a link to dev",
            |root, _| replace(root, "data", "/dev"),
            bind_outside,
        ),
        (
            "a mount point is a link into dev, where a device is wanted",
            |root, _| replace(root, "data", "/dev/net"),
            |spec| {
                bind_outside(spec);
                // The link leads to what is made before.
                let mounts = spec["mounts"].as_array_mut().unwrap();
                mounts.insert(
                    2,
                    json!({"destination": "/dev/net", "type": "tmpfs", "source": "tmpfs"}),
                );
            },
        ),
        (
            "an overlay lies on dev by a link",
            |root, outside| {
                replace(root, "data", "/dev");
                for name in ["lower", "upper", "work"] {
                    fs::create_dir(outside.join(name)).unwrap();
                }
            },
            |spec| {
                let mounts = spec["mounts"].as_array_mut().unwrap();
                mounts.push(json!({"destination": "/data", "type": "overlay", "source": "overlay",
                    "options": ["lowerdir=outside/lower,upperdir=outside/upper,workdir=outside/work"]}));
            },
        ),
        (
            "dev is a link to a mount point",
            |root, _| {
                fs::create_dir_all(root.join("data")).unwrap();
                replace(root, "dev", "/data");
            },
            |spec| {
                without_dev(spec);
                bind_outside(spec);
            },
        ),
        (
            "a directory in dev is a link to a mount point",
            |root, _| {
                fs::create_dir_all(root.join("data")).unwrap();
                replace(root, "dev/net", "/data");
            },
            |spec| {
                without_dev(spec);
                bind_outside(spec);
            },
        ),
        (
            "proc is a link out",
            |root, outside| replace(root, "proc", outside),
            nothing,
        ),
        (
            "proc is a link within",
            |root, _| replace(root, "proc", "/tmp"),
            nothing,
        ),
        (
            "sys is a link out",
            |root, outside| replace(root, "sys", outside),
            nothing,
        ),
        (
            "dev is a link out",
            |root, outside| replace(root, "dev", outside),
            without_dev,
        ),
        (
            "dev is a relative link out",
            |root, _| replace(root, "dev", "../outside"),
            without_dev,
        ),
        (
            "dev is a link out, and mounted on",
            |root, outside| replace(root, "dev", outside),
            nothing,
        ),
        (
            "null is a link",
            |root, outside| replace(root, "dev/null", outside.join("victim")),
            without_dev,
        ),
        (
            "null is a file of sysctl",
            |root, _| replace(root, "dev/null", "/proc/sys/kernel/core_pattern"),
            without_dev,
        ),
        (
            "console is a link",
            |root, outside| replace(root, "dev/console", outside.join("victim")),
            without_dev,
        ),
        (
            "console is a new link",
            |root, outside| replace(root, "dev/console", outside.join("new")),
            without_dev,
        ),
        (
            "ptmx is a link",
            |root, outside| replace(root, "dev/ptmx", outside.join("victim")),
            without_dev,
        ),
        (
            "pts is a link",
            |root, outside| replace(root, "dev/pts", outside),
            without_dev,
        ),
        (
            "stdout is a link",
            |root, outside| replace(root, "dev/stdout", outside.join("victim")),
            without_dev,
        ),
        (
            "a mount point is a link out",
            |root, outside| replace(root, "data", outside),
            bind,
        ),
        (
            "a mount point is a relative link out",
            |root, _| replace(root, "data", "../../outside"),
            bind,
        ),
    ]
}

/// Lists everything below a directory, with its kind and owner.
fn listing(directory: &Path) -> BTreeMap<String, String> {
    let text = succeed(
        Command::new("find")
            .arg(directory)
            .args(["-printf", "%P %y %U %G %m %s %l\n"]),
    );
    let lines = text
        .lines()
        .map(|line| line.split_once(' ').unwrap_or((line, "")));
    lines
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

fn make_outside(directory: &Path) -> std::path::PathBuf {
    let outside = directory.join("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["victim", "ptmx", "null"] {
        fs::write(outside.join(name), "kept").unwrap();
    }
    outside
}

#[test]
fn nothing_outside_changes_under_slipway() {
    let core_pattern = fs::read("/proc/sys/kernel/core_pattern").unwrap();
    for terminal in [false, true] {
        for (name, plant, change) in roots() {
            let (bundle, root) = own_root(
                &[
                    "/bin/sh",
                    "-c",
                    "echo x >/dev/null; echo x >/proc/sys/kernel/core_pattern",
                ],
                |spec| {
                    spec["root"]["readonly"] = false.into();
                    spec["process"]["terminal"] = terminal.into();
                    change(spec);
                },
            );
            let outside = make_outside(&bundle.path());
            fs::create_dir_all(root.join("dev")).unwrap();
            plant(&root, &outside);
            let before = listing(&outside);
            let ended = run(Command::new("timeout")
                .arg("20")
                .arg("script")
                .args(["-qec"])
                .arg({
                    let slipway = bundle.slipway(&["run", "c1"]);
                    let words = slipway
                        .get_args()
                        .map(|word| word.to_string_lossy().into_owned());
                    format!(
                        "{} {}",
                        slipway.get_program().to_string_lossy(),
                        words.collect::<Vec<_>>().join(" ")
                    )
                })
                .arg("/dev/null")
                .current_dir(bundle.path())
                .stdin(Stdio::null()));
            assert_ne!(ended.code, 124, "{name}: it hangs");
            assert_eq!(listing(&outside), before, "{name}: {ended:#?}");
            assert_eq!(fs::read(outside.join("victim")).unwrap(), b"kept", "{name}");
            assert_eq!(
                fs::read("/proc/sys/kernel/core_pattern").unwrap(),
                core_pattern,
                "{name}"
            );
            assert_eq!(bundle.left(), Vec::<String>::new(), "{name}");
        }
    }
}

/// Exchanges two names without end until dropped, as somebody does who may write to the root.
struct Exchange {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exchange {
    fn begin(one: std::path::PathBuf, other: std::path::PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn directories_that_are_exchanged_meanwhile_show_nothing() {
    let script = "for p in /proc /other; do [ ! -e $p/self ] || [ -c $p/keys ] || echo $p is not masked; done";
    let (bundle, root) = own_root(&["sh", "-c", script], |spec| {
        without_dev(spec);
        bind_outside(spec);
        spec["linux"]["devices"] = json!([]);
    });
    let outside = make_outside(&bundle.path());
    for name in ["dev", "data", "other"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    symlink("/data", root.join("devx")).unwrap();
    let before = listing(&outside);
    for (one, other) in [("dev", "devx"), ("proc", "other")] {
        for _ in 0..40 {
            let exchange = Exchange::begin(root.join(one), root.join(other));
            // Each attempt succeeds or fails.
            let log = fs::File::create(bundle.path().join("log")).unwrap();
            let mut create = bundle.slipway(&["create", "c1"]);
            create.stdin(Stdio::null()).stdout(log.try_clone().unwrap());
            let is_created = create.stderr(log).status().unwrap().success();
            drop(exchange);
            assert_eq!(listing(&outside), before, "{}", crate::log_of(&bundle));
            if is_created {
                let started = run(&mut bundle.slipway(&["start", "c1"]));
                assert_eq!(started.code, 0, "{started:?}");
                tests::wait_for("the program", Duration::from_secs(10), || {
                    succeed(&mut bundle.slipway(&["state", "c1"])).contains("stopped")
                });
                succeed(&mut bundle.slipway(&["delete", "c1"]));
            }
            let said = crate::log_of(&bundle);
            assert!(!said.contains("not masked"), "{said}");
        }
    }
    assert_eq!(bundle.left(), Vec::<String>::new());
}

#[test]
fn nothing_outside_changes_under_front() {
    for (name, plant, _) in roots() {
        let home = tests::home();
        let root = home.path().join("image");
        crate::copy_bb(&root);
        let outside = make_outside(home.path());
        plant(&root, &outside);
        let before = listing(&outside);
        let image = root.display().to_string();
        for flags in [&[][..], &["-C"], &["-B", "/etc:/data/x"]] {
            let args = [
                &["-q", "exec"],
                flags,
                &[image.as_str(), "/bin/sh", "-c", "echo x >/dev/null"],
            ]
            .concat();
            let ended = run(&mut front(&args));
            assert!(ended.code < 126 || ended.code == 255, "{name}: {ended:#?}");
            assert_eq!(listing(&outside), before, "{name} {flags:?}: {ended:#?}");
        }
    }
}

/// As root, the engine makes the devices: not in a directory of the host's that the image's link has put
/// in their place.
#[test]
fn no_device_is_made_in_a_bind_of_front() {
    let home = tests::home();
    let root = home.path().join("image");
    crate::copy_bb(&root);
    for target in ["/dev", "/", "/dev/.."] {
        let volume = tempfile::tempdir_in(home.path()).unwrap();
        replace(&root, "data", target);
        let mut front = Command::new(tests::program("front"));
        let bind = format!("{}:/data", volume.path().display());
        front.args(["exec", "--bind", &bind]).arg(&root).arg("true");
        let outcome = run(front.env("HOME", home.path()).stdin(Stdio::null()));
        assert_eq!(outcome.code, 255, "{target}: {outcome:?}");
        assert!(
            outcome.stderr.contains("a link of the image leads to"),
            "{outcome:?}"
        );
        assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 0, "{target}");
    }
}

/// A mount on the root is entered by `/..`, past the masks and all other mounts that are made later.
#[test]
fn a_link_to_the_root_is_not_mounted_on() {
    for destination in ["/sys", "/dev", "/data", "/masked"] {
        let (bundle, root) = own_root(&["/bin/ls", "/../firmware"], |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            match destination {
                "/masked" => spec["linux"]["maskedPaths"] = json!(["/masked"]),
                "/dev" => (),
                _ => {
                    mounts.retain(|mount| mount["destination"] != "/sys");
                    let bind = json!({"destination": destination, "type": "bind", "source": "/sys", "options": ["rbind", "ro"]});
                    mounts.push(bind);
                }
            }
        });
        replace(&root, destination.trim_start_matches('/'), "/");
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        assert!(
            outcome.stderr.contains("leads to its root"),
            "{destination}: {outcome:?}"
        );
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

/// CVE-2019-5736: the program in the container opens the runtime's own file for writing, while the
/// runtime runs and afterwards.
#[test]
fn the_runtimes_program_is_not_written_to() {
    let program = tests::program("slipway");
    let before = fs::metadata(&program).unwrap();
    let script = "for p in /proc/[0-9]* /proc/self; do : 3>>$p/exe && echo opened $p; done 2>/dev/null; true";
    let (bundle, root) = own_root(&["/bin/sh", "-c", script], |spec| {
        spec["root"]["readonly"] = false.into();
    });
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    assert!(!outcome.stdout.contains("opened"), "{outcome:#?}");
    // An image whose shell is a link to the runtime's own program.
    replace(&root, "bin/sh", "/proc/self/exe");
    let _ = run(&mut bundle.slipway(&["run", "c1"]));
    let after = fs::metadata(&program).unwrap();
    assert_eq!((before.mtime(), before.len()), (after.mtime(), after.len()));
}

/// CVE-2026-30892: a user who is given only by number.
#[test]
fn a_user_is_the_one_that_was_asked_for() {
    let (bundle, _) = own_root(&["/bin/sleep", "100"], |_| ());
    let _deleted = crate::Deleted(&bundle);
    crate::start(&bundle);
    for (user, expected) in [
        ("1", "1\n0\n"),
        ("1:2", "1\n2\n"),
        ("4711:4711", "4711\n4711\n"),
    ] {
        let printed = succeed(&mut bundle.slipway(&[
            "exec",
            "-u",
            user,
            "c1",
            "/bin/sh",
            "-c",
            "id -u; id -g",
        ]));
        assert_eq!(printed, expected, "{user}");
    }
    for user in ["", "root", "-1", "1:", ":1", "1:x", "4294967296"] {
        assert_ne!(
            run(&mut bundle.slipway(&["exec", "-u", user, "c1", "/bin/true"])).code,
            0,
            "{user:?}"
        );
    }
}
