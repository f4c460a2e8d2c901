//! `front`'s own program, which its user may own. No payload of a contained image may reach its
//! file (the class of CVE-2019-5736).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use tests::{TESTER, as_tester, fixture, home, program, run, succeed};

/// Makes a `front` that the ordinary user owns, and an image to try it with.
fn place() -> tempfile::TempDir {
    let place = home();
    let own = place.path().join("front");
    fs::copy(program("front"), &own).unwrap();
    succeed(Command::new("chown").arg(TESTER).arg(&own));
    let root = place.path().join("root");
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(&root));
    place
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn no_interpreter_of_a_contained_image_is_this_program() {
    let place = place();
    let (own, root) = (place.path().join("front"), place.path().join("root"));
    let image = root.display().to_string();
    let bin = root.join("bin");
    symlink("/proc/self/exe", bin.join("own-link")).unwrap();
    symlink("/proc/thread-self/exe", bin.join("own-thread")).unwrap();
    script(&bin.join("direct"), "#!/proc/self/exe --version\n");
    script(&bin.join("linked"), "#!/bin/own-link --version\n");
    script(&bin.join("threaded"), "#!/bin/own-thread --version\n");
    script(&bin.join("nested"), "#!/bin/direct\n");
    symlink("direct", bin.join("by-link")).unwrap();
    for flag in ["-c", "-C"] {
        for name in [
            "direct",
            "linked",
            "threaded",
            "nested",
            "by-link",
            "own-link",
            "/proc/self/exe",
        ] {
            let outcome = run(as_tester(&own).args(["exec", flag, &image, name]));
            assert_eq!(outcome.code, 255, "{flag} {name}: {outcome:?}");
            assert_eq!(outcome.stdout, "", "{flag} {name}: {outcome:?}");
        }
    }
    // The link is the image's shell, for its scripts.
    fs::create_dir_all(root.join(".singularity.d/env")).unwrap();
    fs::write(
        root.join(".singularity.d/env/50.sh"),
        "export A=$(echo x)\n",
    )
    .unwrap();
    fs::remove_file(bin.join("sh")).unwrap();
    script(&bin.join("sh"), "#!/proc/self/exe --version\n");
    let outcome = run(as_tester(&own).args(["exec", "-c", &image, "/bin/busybox", "true"]));
    assert!(
        outcome.code != 0 && outcome.stdout.is_empty(),
        "{outcome:?}"
    );
}

/// Makes a program a script and a program in turn, thousands of times a second.
const TOGGLE: &str = r##"
import os, sys
file = os.open(sys.argv[1], os.O_RDWR)
script = b"#!/proc/self/exe\n"
program = os.pread(file, len(script), 0)
print("ready", flush=True)
while True:
    os.pwrite(file, script, 0)
    os.pwrite(file, program, 0)
"##;

#[test]
fn a_program_that_becomes_a_script_in_between_is_not_run_as_one() {
    let place = place();
    let (own, root) = (place.path().join("front"), place.path().join("root"));
    let program = root.join("bin/echo");
    fs::remove_file(&program).unwrap();
    fs::copy(root.join("bin/busybox"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let log = place.path().join("log");
    let toggle = Command::new("python3")
        .args(["-c", TOGGLE, program.to_str().unwrap()])
        .stdout(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let _toggle = tests::Killed(toggle);
    tests::wait_for("the script", std::time::Duration::from_secs(20), || {
        fs::read_to_string(&log).unwrap().contains("ready")
    });
    let image = root.display().to_string();
    for round in 0..200 {
        let outcome = run(as_tester(&own).args(["exec", "-c", &image, "echo", "--version"]));
        // The file is what it was at some moment, or nothing runs: the script's word would not be a
        // command of this program.
        assert!(
            !outcome.stderr.contains("front --help"),
            "{round}: {outcome:?}"
        );
    }
}

#[test]
fn scripts_and_programs_run_as_they_always_do() {
    let place = place();
    let (own, root) = (place.path().join("front"), place.path().join("root"));
    let image = root.display().to_string();
    let bin = root.join("bin");
    let shown = place.path().join("shown");
    fs::create_dir(&shown).unwrap();
    let words = "echo \"$0\" \"$#\" \"$@\"\n";
    for directory in [&bin, &shown] {
        script(&directory.join("plain"), &format!("#!/bin/sh\n{words}"));
        script(
            &directory.join("option"),
            &format!("#! /bin/sh -ef \n{words}"),
        );
        script(
            &directory.join("by-env"),
            &format!("#!/bin/env sh\n{words}"),
        );
        script(&directory.join("nested"), "#!/bin/plain\n");
        script(&directory.join("none"), words);
        fs::copy(root.join("bin/busybox"), directory.join("program")).unwrap();
    }
    tests::open_to_all(place.path());
    let bind = format!("{}:/shown", shown.display());
    for name in [
        "plain",
        "option",
        "by-env",
        "nested",
        "none",
        "/shown/plain",
        "/shown/option",
        "/shown/by-env",
        "/shown/nested",
        "/shown/none",
        "/shown/../bin/plain",
    ] {
        let run = |program: &Path| {
            let words = ["exec", "-c", "-B", &bind, &image, name, "a b", "c"];
            let outcome = run(as_tester(program).args(words));
            (outcome.code, outcome.stdout, outcome.stderr)
        };
        // The other `front` is root's, and needs none of this.
        assert_eq!(run(&own), run(&program("front")), "{name}");
        assert_eq!(run(&own).0, 0, "{name}");
    }
    for name in ["/shown/program", "program"] {
        let words = ["exec", "-c", "-B", &bind, &image, name, "echo", "x"];
        let outcome = run(as_tester(&own).args(words));
        assert!(
            outcome.code == 0 || outcome.stderr.contains("applet not found"),
            "{outcome:?}"
        );
    }
    for (name, words) in [
        ("nosuch", "\"nosuch\": executable file not found in $PATH"),
        ("/etc/os-release", "/etc/os-release: permission denied"),
        ("/etc", "/etc: is a directory"),
        (
            "orphan",
            "exec /bin/orphan failed: its interpreter /bin/nosuch is missing in the image",
        ),
    ] {
        script(&bin.join("orphan"), "#!/bin/nosuch\n");
        let outcome = run(as_tester(&own).args(["exec", "-c", &image, name]));
        assert_eq!(
            (outcome.code, outcome.stderr.lines().count()),
            (255, 1),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains(words), "{outcome:?}");
    }
}
