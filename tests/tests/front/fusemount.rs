//! File systems that a FUSE program serves for one container.

use std::process::Command;
use std::time::Duration;

use tests::{fixture, front, open_to_all, run, succeed, testers_processes, wait_for};

#[test]
fn programs_serve_from_inside_and_from_outside() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    open_to_all(place.path());
    let file = |name: &str| place.path().join(name).display().to_string();
    std::fs::create_dir(file("tree")).unwrap();
    std::fs::write(file("tree/file"), "served\n").unwrap();
    let squashfs = file("data.sqfs");
    succeed(Command::new("mksquashfs").args([&file("tree"), &squashfs, "-quiet", "-no-progress"]));
    open_to_all(place.path().join("data.sqfs").as_path());
    let bb = fixture("bb.sif").display().to_string();
    // This image has the program, too.
    let peers = fixture("peers").display().to_string();
    let bind = format!("{squashfs}:/in.sqfs");
    for contain in [vec![], vec!["-c"], vec!["-C"]] {
        let host = format!("host:squashfuse {squashfs} /served/here");
        let words = [&["exec"], &contain[..], &["--fusemount", &host, &bb]].concat();
        let seen = run(&mut front(
            [&words[..], &["cat", "/served/here/file"]].concat(),
        ));
        assert_eq!(
            (seen.stdout.as_str(), seen.code),
            ("served\n", 0),
            "{seen:?}"
        );
        let inside = "container:squashfuse /in.sqfs /served/here";
        let words = [
            &["exec", "-B", &bind],
            &contain[..],
            &["--fusemount", inside, &peers],
        ]
        .concat();
        let seen = run(&mut front(
            [&words[..], &["cat", "/served/here/file"]].concat(),
        ));
        assert_eq!(
            (seen.stdout.as_str(), seen.code),
            ("served\n", 0),
            "{seen:?}"
        );
    }
    for (spec, why) in [
        ("host:nosuch-program x /data", "no such file or directory"),
        (
            "container:nosuch-program x /data",
            "executable file not found",
        ),
    ] {
        let seen = run(&mut front(["exec", "--fusemount", spec, &bb, "true"]));
        assert_eq!(seen.code, 255, "{seen:?}");
        assert!(seen.stderr.contains(why), "{seen:?}");
    }
    wait_for("the programs to end", Duration::from_secs(5), || {
        let all = testers_processes();
        !all.iter().any(|(_, name)| name.contains("squashfuse "))
    });
}
