//! A short container, run very often: in the foreground, detached, and many at once.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use tests::{Bundle, succeed, wait_for};

/// Returns the number of cgroups of containers whose ids have this prefix.
fn cgroups(prefix: &str) -> usize {
    let hierarchies = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    let directories = hierarchies.filter_map(|entry| fs::read_dir(entry.path()).ok());
    let names = directories
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with(prefix))
        .count()
}

#[test]
fn a_thousand_containers_leave_nothing() {
    let bundle = Bundle::new(&["true"], |_| ());
    let prefix = format!("many-{}-", std::process::id());
    let id = |number: usize| format!("{prefix}{number}");
    for number in 0..1000 {
        succeed(&mut bundle.slipway(&["run", &id(number)]));
    }
    assert_eq!(bundle.left(), Vec::<String>::new());
    for number in 0..1000 {
        let status = bundle
            .slipway(&["run", "-d", &id(number)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "detached {number}");
        succeed(&mut bundle.slipway(&["delete", "-f", &id(number)]));
    }
    assert_eq!(bundle.left(), Vec::<String>::new());
    let mut children: Vec<_> = (0..200)
        .map(|number| bundle.slipway(&["run", &id(number)]).spawn().unwrap())
        .collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(bundle.left(), Vec::<String>::new());
    wait_for("the cgroups to go", Duration::from_secs(5), || {
        cgroups(&prefix) == 0
    });
}
