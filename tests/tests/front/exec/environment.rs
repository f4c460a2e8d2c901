//! The environment of a program: its variables, its working directory and its image.

use std::fs;
use std::process::Command;

use tests::{TESTER, fixture, front, program, run, succeed, tester};

use super::media;

#[test]
fn the_working_directory_goes_along() {
    for image in media() {
        assert_eq!(
            succeed(&mut front(["exec", &image, "pwd"])),
            format!("/home/{TESTER}\n")
        );
        assert_eq!(
            succeed(&mut front(["exec", "--pwd", "/etc", &image, "pwd"])),
            "/etc\n"
        );
        let outcome = run(&mut front(["exec", "--pwd", "/nope", &image, "pwd"]));
        assert_eq!(outcome.code, 255);
        assert!(
            outcome.stderr.contains("failed to set working directory"),
            "{outcome:?}"
        );
        // A directory that the image lacks.
        let outcome = run(front(["exec", &image, "pwd"]).current_dir("/var/lib/dpkg"));
        assert_eq!(outcome.stdout, "/var/lib/dpkg\n", "{outcome:?}");
    }
}

#[test]
fn the_image_is_read_only_and_the_rest_is_not() {
    for image in media() {
        let outcome = run(&mut front(["exec", &image, "touch", "/etc/new"]));
        assert!(
            outcome.stderr.contains("Read-only file system"),
            "{outcome:?}"
        );
        succeed(&mut front([
            "exec",
            &image,
            "sh",
            "-c",
            "touch ~/mine /tmp/mine-$$ && rm ~/mine /tmp/mine-$$",
        ]));
        let devices = succeed(&mut front([
            "exec",
            &image,
            "sh",
            "-c",
            "echo x >/dev/null; head -c 3 /dev/zero | wc -c; ls /dev/pts/ptmx",
        ]));
        assert_eq!(devices, "3\n/dev/pts/ptmx\n");
    }
}

#[test]
fn the_environment_follows_apptainers_rules() {
    let image = fixture("bb.sif").display().to_string();
    let env = |command: &mut Command| {
        let text = succeed(command);
        text.lines()
            .map(|line| {
                line.split_once('=')
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
                    .unwrap_or_default()
            })
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let plain = env(front(["exec", &image, "env"])
        .env("FOO", "bar")
        .env("LD_LIBRARY_PATH", "/x"));
    assert_eq!(plain["FOO"], "bar");
    assert_eq!(
        plain["PATH"],
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    assert_eq!(plain["LD_LIBRARY_PATH"], "/.singularity.d/libs");
    assert_eq!(plain["SINGULARITY_NAME"], "bb.sif");
    assert!(plain["USER_PATH"].starts_with("/usr/local/bin:/usr/bin:/bin:"));
    let clean = env(front(["exec", "-e", &image, "env"]).env("FOO", "bar"));
    assert!(
        !clean.contains_key("FOO") && !clean.contains_key("USER"),
        "{clean:?}"
    );
    assert_eq!(clean["LANG"], "C");
    let set = env(front(["exec", "--env", "A=1,B=x y", &image, "env"])
        .env("APPTAINERENV_A", "2")
        .env("SINGULARITYENV_C", "${HOME}/$(echo sub)")
        .env("APPTAINERENV_PREPEND_PATH", "/mine"));
    assert_eq!((set["A"].as_str(), set["B"].as_str()), ("1", "x y"));
    assert_eq!(set["C"], format!("/home/{TESTER}/sub"));
    assert!(set["PATH"].starts_with("/mine:"));
    assert!(!set.contains_key("APPTAINERENV_A"));
}

#[test]
fn python_works_from_a_sif() {
    let image = fixture("py.sif").display().to_string();
    let script = "import numpy, sys; print(int(numpy.arange(10).sum()), sys.version_info[0])";
    assert_eq!(
        succeed(&mut front(["exec", &image, "python3", "-c", script])),
        "45 3\n"
    );
}

#[test]
fn without_fuse_the_image_is_extracted() {
    // For this user /dev/fuse is closed: it is replaced in a mount namespace of the test.
    let image = fixture("bb.sif").display().to_string();
    let cache = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(cache.path(), Some(tester()), Some(tester())).unwrap();
    let front = tests::program("front");
    let script = format!(
        "mount -t tmpfs tmpfs /mnt && touch /mnt/none && chmod 0 /mnt/none && mount --bind /mnt/none /dev/fuse && \
         exec setpriv --reuid {TESTER} --regid {TESTER} --clear-groups {} exec {image} cat /etc/os-release",
        front.display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .env("SINGULARITY_CACHEDIR", cache.path())
        .current_dir("/");
    let first = run(&mut command);
    assert_eq!(
        (first.stdout.as_str(), first.code),
        ("NAME=bb\n", 0),
        "{first:?}"
    );
    assert!(first.stderr.contains("extracting it to"), "{first:?}");
    let second = run(&mut command);
    assert_eq!(
        (second.stdout.as_str(), second.stderr.as_str()),
        ("NAME=bb\n", ""),
        "{second:?}"
    );
}

/// An empty variable is not the same as a missing one (Tiberius#105): `CUDA_VISIBLE_DEVICES=` means
/// no GPU.
#[test]
fn tiberius_105_an_empty_variable_stays() {
    let image = fixture("bb").display().to_string();
    let print = "echo \"${CUDA_VISIBLE_DEVICES-unset}|${OTHER-unset}|${THIRD-unset}\"";
    let mut command = front(["-q", "exec", "--env", "THIRD=", &image, "sh", "-c", print]);
    let printed = succeed(command.env("CUDA_VISIBLE_DEVICES", ""));
    assert_eq!(printed, "|unset|\n");
    let mut clean = front([
        "-q", "exec", "-e", "--env", "THIRD=", &image, "sh", "-c", print,
    ]);
    assert_eq!(
        succeed(clean.env("CUDA_VISIBLE_DEVICES", "")),
        "unset|unset|\n"
    );
    let mut own = front(["-q", "exec", &image, "sh", "-c", print]);
    let printed = succeed(own.env("SINGULARITYENV_OTHER", "").env("THIRD", ""));
    assert_eq!(printed, "unset||\n");
}

/// The account names its home by a link. The path by which the caller came decides.
#[test]
fn singularity_5069_the_working_directory_is_where_the_shell_says() {
    // A path below which containers see nothing of the host's.
    let place = tempfile::tempdir_in("/var/lib").unwrap();
    tests::open_to_all(place.path());
    let (real, link) = (place.path().join("real"), place.path().join("link"));
    fs::create_dir_all(real.join("work")).unwrap();
    fs::write(real.join("f"), "found\n").unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    succeed(Command::new("chown").args(["-R", "4711:4711"]).arg(&real));
    let image = fixture("bb").display().to_string();
    let (through, physical) = (link.join("work"), real.join("work"));
    let odd = link.join("work/../work");
    for (pwd, expected, parent) in [
        (Some(through.as_path()), &through, "found\n"),
        (Some(physical.as_path()), &physical, ""),
        // A path that does not exist, or goes up, is not believed.
        (Some(std::path::Path::new("/nonexistent")), &physical, ""),
        (Some(odd.as_path()), &physical, ""),
        (None, &physical, ""),
    ] {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            "4711",
            "--regid",
            "4711",
            "--clear-groups",
            "env",
            "-i",
        ]);
        command
            .arg(format!("HOME={}", link.display()))
            .arg("PATH=/usr/bin:/bin");
        command.args(pwd.map(|pwd| format!("PWD={}", pwd.display())));
        command.arg(program("front"));
        command.args([
            "exec",
            "--no-share",
            &image,
            "sh",
            "-c",
            "pwd; cat ../f 2>/dev/null",
        ]);
        let outcome = run(command.current_dir(&through));
        let expected = format!("{}\n{parent}", expected.display());
        assert_eq!(outcome.stdout, expected, "{pwd:?}: {outcome:?}");
    }
}

#[test]
fn apptainer_2537_what_is_preloaded_and_not_there_is_left_out() {
    let image = fixture("py").display().to_string();
    let show = "import os; print(os.environ.get('LD_PRELOAD'))";
    let exec = |value: &str, flags: &[&str]| {
        let words = [&["exec"], flags, &[image.as_str(), "python3", "-c", show]].concat();
        run(front(words).env("LD_PRELOAD", value))
    };
    let there = "/lib/x86_64-linux-gnu/libm.so.6";
    // The host's loader prints its own message for a file that is missing on the host.
    for (value, flags, kept, lost) in [
        (there, &[][..], there, ""),
        (
            "/opt/xalt/libxalt.so",
            &[],
            "None",
            "ignoring files that are not in the container: /opt/xalt/libxalt.so;",
        ),
        (
            "/opt/a.so:/lib/x86_64-linux-gnu/libm.so.6 /opt/b.so",
            &[],
            there,
            "in the container: /opt/a.so, /opt/b.so;",
        ),
        ("libm.so.6", &[], "libm.so.6", ""),
        // The user's own value for the container is kept.
        ("", &["--env", "LD_PRELOAD=libm.so.6"], "libm.so.6", ""),
    ] {
        let outcome = exec(value, flags);
        assert_eq!(outcome.stdout, format!("{kept}\n"), "{value}: {outcome:?}");
        let said: Vec<&str> = { outcome.stderr.lines() }
            .filter(|line| line.starts_with("WARNING"))
            .collect();
        assert_eq!(said.len(), usize::from(!lost.is_empty()), "{outcome:?}");
        assert!(outcome.stderr.contains(lost), "{outcome:?}");
    }
}
