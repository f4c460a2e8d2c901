//! SIGKILL of `front` at any moment: nothing is left within a second.

use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use tests::{fixture, front, testers_processes, wait_for};

/// Returns the processes of this test. Other tests run as the same user, so only processes with our
/// mark count.
fn ours(marker: &str) -> Vec<u32> {
    let of =
        |pid: u32, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    testers_processes()
        .into_iter()
        .filter(|(pid, _)| {
            let text = [of(*pid, "cmdline"), of(*pid, "environ")].concat();
            String::from_utf8_lossy(&text).contains(marker)
        })
        .map(|(pid, _)| pid)
        .collect()
}

fn mounts() -> usize {
    std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .count()
}

#[test]
fn nothing_is_left_at_any_moment() {
    let before = mounts();
    for name in ["bb", "bb.sif"] {
        let image = fixture(name).display().to_string();
        for round in 0..40u64 {
            let marker = format!("SLIPWAY_MARK={}-{name}-{round}", std::process::id());
            let (key, value) = marker.split_once('=').unwrap();
            // A different session each time, because an existing one would be joined and not built.
            let bind = format!("/usr/share:/round-{round}");
            let script = "sleep 97 & sleep 98; true";
            let mut child = front(["exec", "-B", &bind, &image, "sh", "-c", script])
                .env(key, value)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // From before the first system call to well inside the payload.
            std::thread::sleep(Duration::from_micros(round * round * 25));
            child.kill().unwrap();
            child.wait().unwrap();
            wait_for("everything to be gone", Duration::from_secs(1), || {
                ours(&marker).is_empty()
            });
        }
    }
    assert_eq!(mounts(), before);
}

#[test]
fn a_killed_server_does_not_hang_the_program() {
    let directory = tempfile::tempdir().unwrap();
    tests::open_to_all(directory.path());
    let copy = directory.path().join("bb.sif");
    std::fs::copy(fixture("bb.sif"), &copy).unwrap();
    let image = copy.display().to_string();
    let marker = format!("SLIPWAY_MARK=server-{}", std::process::id());
    let (key, value) = marker.split_once('=').unwrap();
    let mut child = front(["exec", &image, "sleep", "60"])
        .env(key, value)
        .spawn()
        .unwrap();
    let server = || {
        ours(&marker).into_iter().find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name == "front: image\n")
        })
    };
    wait_for("the server", Duration::from_secs(5), || server().is_some());
    let pid = server().unwrap();
    assert_eq!(
        std::fs::metadata(format!("/proc/{pid}")).unwrap().uid(),
        tests::tester()
    );
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("everything to be gone", Duration::from_secs(3), || {
        ours(&marker).is_empty()
    });
}

/// Batch systems signal all processes of a job: a signal to the process that makes the container is
/// meant for the program.
#[test]
fn a_signal_to_the_builder_makes_no_launch_fail() {
    let mut met = 0;
    for _ in 0..20 {
        let mut launch = tests::front([
            "exec",
            &tests::fixture("bb").display().to_string(),
            "echo",
            "ok",
        ]);
        let launch = launch.stdout(std::process::Stdio::piped()).spawn().unwrap();
        for _ in 0..2000 {
            let builder = tests::testers_processes()
                .into_iter()
                .find(|(_, name)| name.starts_with("front: builder"));
            if let Some((pid, _)) = builder {
                let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                met += usize::from(nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).is_ok());
                break;
            }
        }
        let output = launch.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"ok\n", "{output:?}");
        // The session ends before the next one is made.
        std::thread::sleep(std::time::Duration::from_millis(2000));
        if met > 2 {
            return;
        }
    }
    assert!(met > 0, "no builder was met");
}
