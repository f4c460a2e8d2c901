//! Attacks on a container's first process while it is made: by whoever can write to a volume, by
//! root of the host's without other rights, and by what a document asks for.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tests::{Killed, run, succeed};

use crate::own_root;

/// Returns the mount points of this process below a directory.
fn mounts_below(directory: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let below = points.filter(|point| Path::new(point).starts_with(directory));
    below.map(str::to_owned).collect()
}

/// The namespace's own root is seen in it as `/`, which is the host's root from outside.
#[test]
fn a_joined_cgroup_namespace_shows_no_cgroup_of_others() {
    let mut other = Command::new("unshare");
    let mut other = Killed(other.args(["-C", "sleep", "100"]).spawn().unwrap());
    let namespace = format!("/proc/{}/ns/cgroup", other.0.id());
    tests::wait_for("the namespace", std::time::Duration::from_secs(10), || {
        let own = fs::read_link("/proc/self/ns/cgroup").unwrap();
        fs::read_link(&namespace).is_ok_and(|theirs| theirs != own)
    });
    for kind in ["cgroup", "cgroup2"] {
        let script = "cd /sys/fs/cgroup; ls -d */release_agent release_agent 2>/dev/null; \
                      grep -c ' /\\.\\.' /proc/self/mountinfo; true";
        let (bundle, _) = own_root(&["/bin/sh", "-c", script], |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(json!({"destination": "/sys/fs/cgroup", "type": kind, "source": kind}));
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| one["type"] != "cgroup");
            namespaces.push(json!({"type": "cgroup", "path": namespace}));
        });
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        let sees_others = outcome.stdout.contains("release_agent");
        assert!(!sees_others, "{kind}: {outcome:?}");
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
    other.0.kill().unwrap();
}

/// The mount that a link hides decides whether the host gets the container's mounts.
#[test]
fn a_root_by_a_link_leaves_nothing_on_the_host() {
    let (bundle, root) = own_root(&["/bin/true"], |spec| {
        spec["root"]["path"] = json!("link/rootfs");
        spec["linux"]["rootfsPropagation"] = json!("rshared");
    });
    let real = bundle.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink("real", bundle.path().join("link")).unwrap();
    let mount = |args: &[&str]| succeed(Command::new("mount").args(args));
    let place = real.display().to_string();
    mount(&["-t", "tmpfs", "tmpfs", &place]);
    mount(&["--make-shared", &place]);
    succeed(
        Command::new("cp")
            .arg("-a")
            .arg(&root)
            .arg(real.join("rootfs")),
    );
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    let left = mounts_below(&real);
    succeed(Command::new("umount").args(["-R", "-l", &place]));
    assert_eq!(left, [place], "{outcome:?}");
}

/// A device's mode was set by its name, which somebody else had given to a link by then.
#[test]
fn the_mode_of_a_device_is_not_given_to_another_file() {
    let victim = tempfile::NamedTempFile::new().unwrap();
    let mode = || fs::metadata(victim.path()).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(victim.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let volume = tempfile::tempdir().unwrap();
    let (bundle, _) = own_root(&["/bin/true"], |spec| {
        let bind = json!({"destination": "/data", "type": "bind", "source": volume.path(), "options": ["rbind"]});
        spec["mounts"].as_array_mut().unwrap().push(bind);
        let device = json!({"path": "/data/d", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 5});
        spec["linux"]["devices"] = json!([device]);
    });
    let link = volume.path().join("link");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let device = volume.path().join("d");
            while !over.load(Ordering::Relaxed) {
                let _ = symlink(victim.path(), &link);
                if fs::symlink_metadata(&device).is_ok_and(|found| !found.is_symlink()) {
                    let _ = fs::rename(&link, &device);
                }
                let _ = fs::remove_file(&device);
            }
        });
        for _ in 0..400 {
            // A node that is gone may end the creation.
            let _ = run(&mut bundle.slipway(&["run", "c1"]));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(mode(), 0o600);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(victim.path()).unwrap());
    assert_eq!(owner, 0);
}

/// Each way to make a mount keeps all restrictions: an option that is too long for the new system
/// calls, and the old hierarchies of cgroups.
#[test]
fn no_way_to_mount_loses_a_restriction() {
    let below = tempfile::tempdir_in("/var/tmp").unwrap();
    let layers: Vec<String> = (0..12)
        .map(|number| {
            below
                .path()
                .join(format!("a-layer-with-a-long-name-{number}"))
        })
        .inspect(|layer| fs::create_dir(layer).unwrap())
        .map(|layer| layer.display().to_string())
        .collect();
    let flags = [
        "rro",
        "rnosuid",
        "rnodev",
        "rnoexec",
        "nosymfollow",
        "noatime",
    ];
    let script = "grep ' /mnt ' /proc/self/mounts; grep ' /sys/fs/cgroup' /proc/self/mounts";
    let (bundle, _) = own_root(&["/bin/sh", "-c", script], |spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["type"] != "cgroup");
        let lower = format!("lowerdir={}", layers.join(":"));
        let options: Vec<&str> = flags.into_iter().chain([lower.as_str()]).collect();
        mounts.push(json!({"destination": "/mnt", "type": "overlay", "source": "overlay", "options": options}));
        mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rro"]}));
    });
    let seen = succeed(&mut bundle.slipway(&["run", "c1"]));
    let (overlay, cgroups) = seen.split_once('\n').unwrap();
    for flag in ["ro", "nosuid", "nodev", "noexec", "nosymfollow", "noatime"] {
        let is_there = overlay.split([' ', ',']).any(|word| word == flag);
        assert!(is_there, "{flag}: {overlay}");
    }
    assert!(!cgroups.is_empty(), "{seen}");
    for line in cgroups.lines() {
        let options = line.split(' ').nth(3).unwrap();
        assert!(options.split(',').any(|word| word == "ro"), "{line}");
    }
}

/// A state that cannot be completed: the first process was there already.
#[test]
fn a_full_state_directory_leaves_no_process() {
    let mut failed = 0;
    let inodes = (6..20).map(|count| format!("size=64k,nr_inodes={count}"));
    let blocks = (1..16).map(|count| format!("nr_blocks={count},nr_inodes=1000"));
    for inodes in inodes.chain(blocks) {
        let (bundle, _) = own_root(&["/bin/sleep", "100"], |_| ());
        let id = bundle.id();
        let before = format!(
            "mkdir -p state && mount -t tmpfs -o {inodes} tmpfs {}/state",
            bundle.path().display()
        );
        let before = format!("cd {} && {before}", bundle.path().display());
        let script =
            "$S create $I </dev/null >/dev/null 2>&1 && { $S delete -f $I; exit; }; echo failed";
        let outcome = bundle.script(&before, script);
        failed += outcome.stdout.matches("failed").count();
        assert_eq!(
            crate::processes_with(&id),
            Vec::<i32>::new(),
            "{inodes}: {outcome:?}"
        );
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            assert!(
                !hierarchy.path().join(&id).exists(),
                "{inodes}: {hierarchy:?}"
            );
        }
    }
    assert!(failed > 2, "{failed}");
}

/// The id of a container that could not be made is somebody else's only when all of it is gone.
#[test]
fn a_creation_that_fails_removes_nothing_of_the_next() {
    let (first, _) = own_root(&["/bin/sleep", "100"], |spec| {
        let hook = json!({"path": "/bin/sleep", "args": ["sleep", "2"]});
        spec["hooks"] = json!({"poststop": [hook]});
    });
    let (second, _) = own_root(&["/bin/sleep", "100"], |_| ());
    let mut create = first.slipway(&["create", "--pid-file", "/nonexistent/pid", "c1"]);
    let mut create = create
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1000));
    // The state and the id of the first, the bundle of the second.
    let bundle = second.path().display().to_string();
    let mut next = first.slipway(&["run", "-d", "-b", &bundle, "c1"]);
    let next = next
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let is_made = next.status().unwrap().success();
    assert!(!create.wait().unwrap().success());
    let listed = succeed(&mut first.slipway(&["list", "-q"]));
    assert_eq!(listed.lines().count(), usize::from(is_made), "{listed}");
    if is_made {
        succeed(&mut first.slipway(&["delete", "-f", "c1"]));
    }
    assert_eq!(crate::processes_with(&first.id()), Vec::<i32>::new());
}

/// Without a mount namespace of the container's, every mount would be the host's.
#[test]
fn a_file_in_place_of_a_device_brings_no_mount_to_the_host() {
    let (bundle, root) = own_root(&["/bin/true"], |spec| {
        spec["mounts"] = json!([]);
        spec["linux"]["maskedPaths"] = json!([]);
        spec["linux"]["readonlyPaths"] = json!([]);
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "mount");
    });
    fs::create_dir_all(root.join("dev")).unwrap();
    fs::write(root.join("dev/full"), "").unwrap();
    let _ = run(&mut bundle.slipway(&["run", "c1"]));
    assert_eq!(mounts_below(&bundle.path()), Vec::<String>::new());
    assert_eq!(bundle.left(), Vec::<String>::new());
}

/// Root of a new user namespace belongs to root of the host's: whoever has that id, and no
/// capability, may look into its processes unless they are undumpable.
#[test]
fn root_without_rights_does_not_look_into_a_first_process() {
    let (bundle, _) = own_root(&["/bin/true"], |spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user"}));
        let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        spec["linux"]["uidMappings"] = maps.clone();
        spec["linux"]["gidMappings"] = maps;
        spec["root"]["readonly"] = json!(true);
    });
    // Looks for the host's directory behind the root of each new process in another user namespace.
    let script = "import os, sys\n\
        seen, own = 0, os.readlink('/proc/self/ns/user')\n\
        while not os.path.exists(sys.argv[1]):\n\
        \x20for pid in filter(str.isdigit, os.listdir('/proc')):\n\
        \x20 if int(pid) <= int(sys.argv[2]): continue\n\
        \x20 try:\n\
        \x20  other = os.readlink(f'/proc/{pid}/ns/user') != own\n\
        \x20  seen += other and os.path.exists(f'/proc/{pid}/root{sys.argv[3]}')\n\
        \x20 except OSError: pass\n\
        print(seen)";
    let stop = bundle.path().join("stop");
    let first = std::process::id().to_string();
    let mut watcher = Command::new("setpriv");
    watcher.args([
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--no-new-privs",
        "python3",
        "-c",
        script,
    ]);
    let watcher = watcher
        .arg(&stop)
        .arg(first)
        .arg(bundle.path())
        .stdout(std::process::Stdio::piped());
    let watcher = watcher.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    for _ in 0..20 {
        let _ = run(&mut bundle.slipway(&["run", "c1"]));
    }
    fs::write(&stop, "").unwrap();
    let seen = watcher.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "0\n");
}
