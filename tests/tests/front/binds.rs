//! `--bind`, as an ordinary user.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tests::{fixture, front, open_to_all, run, succeed};

#[test]
fn a_place_that_the_image_lacks_is_made() {
    let lus = tempfile::tempdir().unwrap();
    open_to_all(lus.path());
    fs::write(lus.path().join("data"), "x").unwrap();
    for name in ["bb", "bb.sif", "py.sif"] {
        let image = fixture(name).display().to_string();
        let spec = format!("{}:/lus/project/deep", lus.path().display());
        let mut command = front([
            "exec",
            "-B",
            &spec,
            "--nv",
            &image,
            "ls",
            "/lus/project/deep",
        ]);
        assert_eq!(succeed(command.current_dir("/var/lib")), "data\n", "{name}");
    }
    // Nothing was made on the host.
    assert!(!fixture("bb").join("lus").exists());
}

#[test]
fn several_binds_files_and_options() {
    let dir = tempfile::tempdir().unwrap();
    open_to_all(dir.path());
    fs::write(dir.path().join("file"), "content\n").unwrap();
    let image = fixture("bb.sif").display().to_string();
    let d = dir.path().display();
    let spec = format!("{d}:/a:ro,{d}/file:/b/c/file");
    let script = "cat /b/c/file; ls /a; cat /v/file; touch /a/x";
    let outcome = run(front(["exec", "-B", &spec, &image, "sh", "-c", script])
        .env("SINGULARITY_BINDPATH", format!("{d}:/v")));
    assert_eq!(outcome.stdout, "content\nfile\ncontent\n", "{outcome:?}");
    assert!(
        outcome.stderr.contains("Read-only file system"),
        "{outcome:?}"
    );
}

#[test]
fn mistakes_are_named_and_exit_255() {
    let image = fixture("bb.sif").display().to_string();
    let rows = [
        ("/nosuch:/mnt", "/nosuch: no such file or directory"),
        ("/nosuch", "/nosuch: no such file or directory"),
        ("/tmp:/mnt:zz", "zz is not a valid bind option"),
        ("/tmp:mnt", "must be an absolute path"),
        ("/tmp:", "destination is empty"),
        ("/tmp:/", "cannot be bound over /"),
        ("/tmp:/etc/passwd", "not a directory in the image"),
        ("/etc/hostname:/etc", "is a directory in the image"),
    ];
    for (spec, words) in rows {
        let outcome = run(&mut front(["exec", "-B", spec, &image, "true"]));
        assert_eq!(outcome.code, 255, "{spec}: {outcome:?}");
        assert!(outcome.stderr.contains(words), "{spec}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{spec}: {outcome:?}");
    }
}

#[test]
fn a_hostile_images_links_lead_nowhere() {
    // An image whose mount points are links to the host's directories.
    let dir = tempfile::tempdir().unwrap();
    // Not below a directory that is bound by default: a link to /tmp leads to the host's /tmp,
    // which is allowed.
    let outside = tempfile::tempdir_in("/var/lib").unwrap();
    open_to_all(dir.path());
    fs::set_permissions(
        outside.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let image = dir.path().join("image");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(fixture("bb"))
        .arg(&image)
        .status()
        .unwrap();
    assert!(copied.success());
    for name in ["mnt", "home", "opt"] {
        fs::remove_dir(image.join(name)).unwrap();
        std::os::unix::fs::symlink(outside.path(), image.join(name)).unwrap();
    }
    let path = image.display().to_string();
    let outcome = run(&mut front([
        "exec",
        "-B",
        "/usr/share:/mnt/x/y",
        &path,
        "ls",
        "/mnt/x/y",
    ]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
}

/// The source of a bind, a directory or a file, is made anew between two launches (moby#15793,
/// #22627). Each launch sees the current one, although the session of the launch before still
/// exists.
#[test]
fn moby_15793_what_is_bound_is_what_is_there_now() {
    let home = tests::home();
    let open = |name: &str| home.path().join(name);
    let image = fixture("bb").display().to_string();
    let exec = |bind: &str, file: &str| {
        run(&mut front(["-q", "exec", "-B", bind, &image, "cat", file])).stdout
    };
    let (directory, file, link) = (open("w"), open("f"), open("l"));
    let text = |path: &std::path::Path| path.display().to_string();
    for round in 0..4 {
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("in"), format!("in{round}")).unwrap();
        assert_eq!(
            exec(&format!("{}:/w", text(&directory)), "/w/in"),
            format!("in{round}")
        );
        // As sed -i does.
        std::fs::write(open("new"), format!("file{round}")).unwrap();
        std::fs::rename(open("new"), &file).unwrap();
        assert_eq!(
            exec(&format!("{}:/f", text(&file)), "/f"),
            format!("file{round}")
        );
        // A link with another target.
        let target = open(&format!("t{round}"));
        std::fs::write(&target, format!("link{round}")).unwrap();
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(
            exec(&format!("{}:/l", text(&link)), "/l"),
            format!("link{round}")
        );
    }
}

/// Also on a device that every container has.
#[test]
fn a_bind_on_a_device_is_what_is_seen() {
    let image = fixture("bb").display().to_string();
    let devices = "/dev/null:/dev/fuse,/dev/urandom:/dev/random";
    let seen = succeed(&mut front([
        "exec",
        "-B",
        devices,
        &image,
        "stat",
        "-c",
        "%t:%T",
        "/dev/fuse",
        "/dev/random",
    ]));
    assert_eq!(seen, "1:3\n1:9\n");
}

/// Whoever owns the directory above the caller's can put a link at its name, at any time.
#[test]
fn a_working_directory_that_is_exchanged_for_a_link_is_not_followed() {
    let image = fixture("bb").display().to_string();
    // The container shows one of the places by itself. In the other, it shows the working directory.
    for above in ["/tmp", "/opt"] {
        let place = tempfile::tempdir_in(above).unwrap();
        open_to_all(place.path());
        let [here, private, link] = ["x", "private", "link"].map(|name| place.path().join(name));
        fs::create_dir(&here).unwrap();
        fs::create_dir(&private).unwrap();
        open_to_all(place.path());
        std::os::unix::fs::symlink(&private, &link).unwrap();
        let number = |path: &std::path::Path| fs::metadata(path).unwrap().ino().to_string();
        let (own, others) = (number(&here), number(&private));
        let ends = AtomicBool::new(false);
        let victim = format!(
            "for n in $(seq 30); do cd {place} && cd -P x && [ $(stat -c %i .) = {own} ] && {front} exec {image} stat -c %i .; done 2>/dev/null",
            place = place.path().display(),
            front = tests::program("front").display(),
        );
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    let flags = RenameFlags::EXCHANGE;
                    renameat_with(CWD, &here, CWD, &link, flags).unwrap();
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
            let seen = run(tests::as_tester("/bin/sh").args(["-c", &victim]));
            ends.store(true, Ordering::Relaxed);
            seen
        });
        let entered: Vec<&str> = seen.stdout.lines().collect();
        let strange = entered.iter().filter(|line| **line == others).count();
        assert_eq!(strange, 0, "{above}: {strange} of {}", entered.len());
        // A launch without an attack is as usual.
        let here = [&here, &link]
            .into_iter()
            .find(|path| !path.is_symlink())
            .unwrap();
        let usual = run(front(["exec", &image, "stat", "-c", "%i", "."]).current_dir(here));
        assert_eq!(usual.stdout.trim_end(), own, "{above}: {usual:?}");
    }
}

/// A link on the way that leads to the same directory is as good as none.
#[test]
fn a_working_directory_may_be_entered_by_a_link() {
    let image = fixture("bb").display().to_string();
    for above in ["/tmp", "/opt"] {
        let place = tempfile::tempdir_in(above).unwrap();
        let [here, link] = ["x", "link"].map(|name| place.path().join(name));
        fs::create_dir(&here).unwrap();
        open_to_all(place.path());
        std::os::unix::fs::symlink(&here, &link).unwrap();
        let mut command = front(["exec", &image, "sh", "-c", "pwd; stat -c %i ."]);
        let seen = run(command.current_dir(&link).env("PWD", &link));
        let number = fs::metadata(&here).unwrap().ino();
        assert_eq!(
            seen.stdout,
            format!("{}\n{number}\n", link.display()),
            "{seen:?}"
        );
        assert_eq!(seen.stderr, "");
    }
}
