//! `front instance`, and `instance://` for exec, run and shell, as an ordinary user.

mod ends;
mod life;
mod limits;
mod many;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::{TestDirectory, fixture, open_to_all, run, succeed, testers_processes, wait_for};

use ends::{
    a_killed_start_leaves_nothing, an_end_comes_in_time, signals_and_stops_go_through,
    what_is_killed_leaves_nothing,
};
use life::a_life;
use limits::{
    names_are_taken_once, nothing_of_the_host_is_lent_by_accident, others_have_their_own,
    what_cannot_start_says_so,
};
use many::{many_come_and_go, stats_are_true};

pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Makes a busybox whose scripts run their arguments.
pub(crate) fn image(place: &TestDirectory) -> String {
    let root = place.file("image");
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(&root));
    let directory = Path::new(&root).join(".singularity.d");
    fs::create_dir_all(&directory).unwrap();
    for name in ["runscript", "startscript"] {
        let path = directory.join(name);
        fs::write(&path, "#!/bin/sh\nexec \"$@\"\n").unwrap();
        open_to_all(&path);
    }
    root
}

/// Returns the output of an instance's program.
pub(crate) fn log(place: &TestDirectory, name: &str) -> String {
    let logs = Path::new(&place.file("config")).join("instances/logs");
    let host = fs::read_dir(logs).unwrap().next().unwrap().unwrap().path();
    let user = fs::read_dir(host).unwrap().next().unwrap().unwrap().path();
    fs::read_to_string(user.join(name)).unwrap()
}

/// Returns the tester's processes that belong to instances.
pub(crate) fn left() -> Vec<(u32, String)> {
    let of_ours = |(pid, _): &(u32, String)| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("instance")
    };
    testers_processes().into_iter().filter(of_ours).collect()
}

pub(crate) fn stop_all(place: &TestDirectory) {
    run(&mut place.front(&["instance", "stop", "-F", "-a"]));
    wait_for("all have ended", SOON, || left().is_empty());
}

#[test]
fn instances_start_are_joined_and_stop() {
    // One after the other, because all tests of a user share the user's instances.
    let place = TestDirectory::new();
    stop_all(&place);
    drop(place);
    a_life();
    names_are_taken_once();
    an_end_comes_in_time();
    what_is_killed_leaves_nothing();
    a_killed_start_leaves_nothing();
    signals_and_stops_go_through();
    what_cannot_start_says_so();
    nothing_of_the_host_is_lent_by_accident();
    others_have_their_own();
    many_come_and_go();
    stats_are_true();
}
