//! Files of the host's that a container has: as its standard streams, or as devices.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use tests::{Bundle, run};

use crate::own_root;

/// Returns the mode of a device of the host's, and sets the usual one again.
fn mode(device: &str) -> u32 {
    let mode = fs::metadata(device).unwrap().mode() & 0o7777;
    fs::set_permissions(device, fs::Permissions::from_mode(0o666)).unwrap();
    mode
}

/// Starts a container, and runs a shell script in it with the host's `/dev/null` as its streams.
fn sleeping() -> Bundle {
    let (bundle, _) = own_root(&["sleep", "100"], |spec| {
        spec["process"]["capabilities"] = serde_json::json!({});
    });
    crate::start(&bundle);
    bundle
}

#[test]
fn the_null_of_the_host_keeps_its_mode() {
    let bundle = sleeping();
    let _deleted = crate::Deleted(&bundle);
    for script in [
        "chmod 0667 /proc/self/fd/0",
        "chmod 0667 /proc/self/fd/1",
        "rm /dev/null; ln -s /proc/self/fd/0 /dev/null; chmod 0667 /dev/null",
    ] {
        let mut exec = bundle.slipway(&["exec", "c1", "sh", "-c", script]);
        exec.stdin(Stdio::null()).stdout(Stdio::null());
        let status = exec.status().unwrap();
        assert_eq!(mode("/dev/null"), 0o666, "{script}");
        assert!(!status.success(), "{script}");
    }
    let script = "echo nothing; cat; echo to standard error >&2";
    let outcome = run(bundle
        .slipway(&["exec", "c1", "sh", "-c", script])
        .stdin(Stdio::null()));
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("nothing\n", "to standard error\n")
    );
}

#[test]
fn a_device_that_covers_a_file_of_the_image_keeps_its_mode() {
    let script = "chmod 0667 /dev/null; chmod 0667 /dev/zero; echo x >/dev/null && echo written";
    let (bundle, root) = own_root(&["sh", "-c", script], |spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        spec["root"]["readonly"] = false.into();
    });
    fs::create_dir_all(root.join("dev")).unwrap();
    for name in ["null", "zero"] {
        let path = root.join("dev").join(name);
        let _ = fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let outcome = run(bundle.slipway(&["run", "c1"]).stdin(Stdio::null()));
    assert_eq!(
        (mode("/dev/null"), mode("/dev/zero")),
        (0o666, 0o666),
        "{outcome:?}"
    );
    assert_eq!(outcome.stdout, "written\n", "{outcome:?}");
}

#[test]
fn only_a_stream_that_is_written_changes_its_owner() {
    let bundle = sleeping();
    let _deleted = crate::Deleted(&bundle);
    let (read, written) = (bundle.path().join("read"), bundle.path().join("written"));
    fs::write(&read, "read\n").unwrap();
    let mut exec = bundle.slipway(&["exec", "-u", "1001", "c1", "sh", "-c", "cat >/dev/stdout"]);
    exec.stdin(fs::File::open(&read).unwrap());
    exec.stdout(fs::File::create(&written).unwrap());
    assert!(exec.status().unwrap().success());
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    assert_eq!((owner(&read), owner(&written)), (0, 1001));
    assert_eq!(fs::read(&written).unwrap(), b"read\n");
    // A terminal that the caller shares with others of its programs.
    let exec = bundle.slipway(&["exec", "-u", "1001", "c1", "true"]);
    let words = std::iter::once(exec.get_program()).chain(exec.get_args());
    let line: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let script = format!("{}; stat -c 'owner %u' $(tty)", line.join(" "));
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &script, "/dev/null"]);
    let outcome = run(terminal.stdin(Stdio::null()));
    assert!(outcome.stdout.contains("owner 0"), "{outcome:?}");
}
