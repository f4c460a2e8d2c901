//! Many instances.

use std::process::{Child, Stdio};

use tests::{TestDirectory, fixture, succeed, wait_for};

use super::{SOON, left};

/// Two hundred start and stop in a row, and fifty at once. Nothing is left.
pub(crate) fn many_come_and_go() {
    let place = TestDirectory::new();
    let image = fixture("bb.sif").display().to_string();
    for number in 0..200 {
        let name = format!("row{number}");
        succeed(&mut place.front(&["-q", "instance", "start", &image, &name]));
        succeed(&mut place.front(&["-q", "instance", "stop", &name]));
    }
    let start = |number: usize| -> Child {
        let name = format!("at-once{number}");
        let mut command = place.front(&["-q", "instance", "start", &image, &name]);
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    let starting: Vec<Child> = (0..50).map(start).collect();
    for mut child in starting {
        assert!(child.wait().unwrap().success());
    }
    let list = succeed(&mut place.front(&["instance", "list"]));
    assert_eq!(list.lines().count(), 51, "{list}");
    succeed(&mut place.front(&["-q", "instance", "stop", "--all"]));
    wait_for("all have ended", SOON, || left().is_empty());
    let list = succeed(&mut place.front(&["instance", "list"]));
    assert_eq!(list.lines().count(), 1, "{list}");
}

/// Measures the use of resources by an instance.
pub(crate) fn stats_are_true() {
    let place = TestDirectory::new();
    let image = fixture("bb").display().to_string();
    succeed(&mut place.front(&["-q", "instance", "start", &image, "busy"]));
    // A processor that is always used, and twenty megabytes of memory.
    let words =
        "(while :; do :; done) & sleep 0.3; head -c 20000000 /dev/zero | sort | sleep 3; kill %1";
    let mut command = place.front(&["exec", "instance://busy", "sh", "-c", words]);
    let mut busy = command.stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1000));
    let text = succeed(&mut place.front(&["instance", "stats", "--no-stream", "--json", "busy"]));
    let stats: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |name: &str| stats[name].as_f64().unwrap();
    assert!(number("cpu_percent") > 30.0, "{text}");
    assert!(number("memory_bytes") > 15e6, "{text}");
    assert!(number("pids") >= 4.0, "{text}");
    busy.kill().unwrap();
    busy.wait().unwrap();
    succeed(&mut place.front(&["-q", "instance", "stop", "busy"]));
}
