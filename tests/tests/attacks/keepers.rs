//! What becomes of a session whose processes are ended from outside: the image's server, as by the kernel when memory
//! is short.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{Killed, fixture, front, run, testers_processes, wait_for};

fn servers() -> Vec<u32> {
    let processes = testers_processes().into_iter();
    processes
        .filter(|(_, name)| name == "front: image")
        .map(|(pid, _)| pid)
        .collect()
}

#[test]
fn a_session_whose_server_has_ended_is_not_joined() {
    let image = fixture("bb.sif").display().to_string();
    let before = servers();
    let child = front(["exec", &image, "sleep", "100"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _first = Killed(child);
    let new = || servers().into_iter().find(|pid| !before.contains(pid));
    wait_for("the image's server", Duration::from_secs(20), || {
        new().is_some()
    });
    // The program runs once it can be joined.
    let outcome = run(&mut front(["exec", &image, "cat", "/etc/os-release"]));
    assert_eq!(outcome.stdout, "NAME=bb\n", "{outcome:#?}");
    kill(Pid::from_raw(new().unwrap().cast_signed()), Signal::SIGKILL).unwrap();
    for round in 0..30 {
        let outcome = run(&mut front(["exec", &image, "cat", "/etc/os-release"]));
        assert_eq!(
            (outcome.stdout.as_str(), outcome.code),
            ("NAME=bb\n", 0),
            "{round}: {outcome:#?}"
        );
    }
}
