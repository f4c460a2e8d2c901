//! The ends of builds: nothing is half done, and nothing is left.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{open_directory, user_shell, wait_for};

use super::{commands, write};

/// Returns the names in the directory for temporary files, which is `tmp` beside `x.def`.
fn temporary(place: &tempfile::TempDir) -> Vec<String> {
    names(&place.path().join("tmp"))
}

fn names(path: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn started(place: &tempfile::TempDir, words: &str) -> Child {
    let mut command = user_shell(
        place,
        &format!("TMPDIR=$PWD/tmp; export TMPDIR; exec {words}"),
    );
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn place() -> tempfile::TempDir {
    let place = open_directory();
    assert_eq!(commands(&place, "/bin/mkdir tmp").code, 0);
    place
}

fn processes(number: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let words = entries.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default());
    let sleeps = words.filter(|words| words == format!("sleep\0{number}\0").as_bytes());
    sleeps.count()
}

#[test]
fn a_build_that_is_ended_leaves_nothing() {
    let place = place();
    write(
        &place,
        "%post\necho begun > /opt/begun\n(sleep 7654.25 &)\nsleep 7654.25\n",
    );
    let rows = [
        (Signal::SIGINT, "x.sif"),
        (Signal::SIGTERM, "x.sif"),
        (Signal::SIGHUP, "-s box"),
        (Signal::SIGTERM, "-s box"),
    ];
    for (signal, output) in rows {
        let mut build = started(&place, &format!("$front -q build {output} x.def"));
        wait_for("the script", Duration::from_secs(20), || {
            processes("7654.25") >= 2
        });
        kill(Pid::from_raw(build.id().cast_signed()), signal).unwrap();
        let status = build.wait().unwrap();
        assert!(!status.success());
        wait_for("the end of the script", Duration::from_secs(10), || {
            processes("7654.25") == 0
        });
        assert_eq!(names(place.path()), ["tmp", "x.def"], "{signal} {output}");
        assert_eq!(temporary(&place), Vec::<String>::new(), "{signal} {output}");
    }
}

#[test]
fn the_next_build_removes_what_a_kill_left() {
    let place = place();
    write(
        &place,
        "%post\nmkdir -p /opt/d/e; chmod 0 /opt/d\nsleep 7655.25\n",
    );
    for output in ["x.sif", "-s box"] {
        let mut build = started(&place, &format!("$front -q build {output} x.def"));
        wait_for("the script", Duration::from_secs(20), || {
            processes("7655.25") >= 1
        });
        build.kill().unwrap();
        build.wait().unwrap();
        wait_for("the end of the script", Duration::from_secs(10), || {
            processes("7655.25") == 0
        });
    }
    write(&place, "%post\ntrue\n");
    let words =
        "export TMPDIR=$PWD/tmp; $front -q build x.sif x.def && $front -q build -s box x.def";
    assert_eq!(commands(&place, words).code, 0);
    assert_eq!(names(place.path()), ["box", "tmp", "x.def", "x.sif"]);
    assert_eq!(temporary(&place), Vec::<String>::new());
}

#[test]
fn a_daemon_of_a_script_does_not_outlive_it() {
    let place = place();
    write(
        &place,
        "%post\n(setsid sleep 7656.25 >/dev/null 2>&1 &)\necho done > /opt/done\n",
    );
    let words =
        "export TMPDIR=$PWD/tmp; $front -q build x.sif x.def && $front exec x.sif cat /opt/done";
    let seen = commands(&place, words);
    assert_eq!(seen.stdout, "done\n", "{seen:?}");
    assert_eq!(processes("7656.25"), 0);
}

#[test]
fn a_script_that_fails_is_shown_by_its_line() {
    let place = place();
    write(
        &place,
        "%post\necho one\nif true; then\n  ls /none \"/x y\"\nfi\n",
    );
    let words = "export TMPDIR=$PWD/tmp; echo old > x.sif; $front build -F x.sif x.def; echo $?; /bin/cat x.sif";
    let seen = commands(&place, words);
    assert_eq!(
        seen.stdout, "one\n255\nold\n",
        "the old one stays: {seen:?}"
    );
    let fault =
        "FATAL:   x.def:6: while running %post section: exit status 1, after `ls /none '/x y'`\n";
    assert!(seen.stderr.ends_with(fault), "{seen:?}");
    assert_eq!(temporary(&place), Vec::<String>::new());
    let seen = commands(
        &place,
        "export TMPDIR=$PWD/tmp; $front build --keep x2.sif x.def",
    );
    let (_, hint) = seen
        .stderr
        .rsplit_once("look into it: front shell --fakeroot --writable ")
        .unwrap();
    let words = format!(
        "echo 'ls /opt; id -u' | $front shell --fakeroot --writable {}",
        hint.trim()
    );
    let seen = commands(&place, &words);
    assert_eq!(seen.stdout, "0\n", "{seen:?}");
}

#[test]
fn a_test_that_fails_leaves_no_image() {
    let place = place();
    write(&place, "%test\nexit 3\n");
    let seen = commands(
        &place,
        "$front build x.sif x.def; echo $?; /bin/ls; $front build -T x.sif x.def; echo $?",
    );
    assert_eq!(seen.stdout, "255\ntmp\nx.def\n0\n", "{seen:?}");
    assert!(
        seen.stderr
            .contains("x.def:3: failed to execute %test script: exit status 3"),
        "{seen:?}"
    );
}

#[test]
fn a_full_disk_is_named() {
    let place = place();
    write(
        &place,
        "%post\ndd if=/dev/zero of=/opt/big bs=1M count=20\n",
    );
    let mount = format!(
        "mount -t tmpfs -o size=6M,mode=777 none {}/tmp",
        place.path().display()
    );
    let front = tests::program("front");
    let words = format!(
        "cd {}; TMPDIR=$PWD/tmp {} build x.sif x.def; echo $?; ls; ls -A tmp",
        place.path().display(),
        front.display()
    );
    let words = format!(
        "{mount}; exec setpriv --reuid {0} --regid {0} --clear-groups sh -c '{words}'",
        tests::tester()
    );
    let mut command = std::process::Command::new("unshare");
    let seen = tests::run(
        command
            .args(["--mount", "sh", "-c", &words])
            .stdin(Stdio::null()),
    );
    assert_eq!(seen.stdout, "255\ntmp\nx.def\n", "{seen:?}");
    assert!(seen.stderr.contains("No space left on device"), "{seen:?}");
    assert!(
        seen.stderr.contains("x.def:4: while running %post"),
        "{seen:?}"
    );
}

/// Returns a process and those below it.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let below = children
        .split_whitespace()
        .flat_map(|child| family(child.parse().unwrap()));
    std::iter::once(pid).chain(below).collect()
}

#[test]
fn kills_at_any_moment_leave_nothing() {
    let place = place();
    write(
        &place,
        "%setup\n: > $APPTAINER_ROOTFS/opt/x\n%post\nfor i in 1 2 3; do mkdir -p /opt/$i/d; done\nsleep 0.05\n%test\ntrue\n",
    );
    let mut random = 88_172_645_463_325_252_u64;
    for round in 0..100 {
        // Marsaglia's xorshift.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let output = ["x.sif", "-s box"][round % 2];
        let mut build = started(&place, &format!("$front -q build -F {output} x.def"));
        std::thread::sleep(Duration::from_millis(random % 150));
        let family = family(build.id());
        let victim = family[usize::try_from(random >> 32).unwrap() % family.len()];
        let _ = kill(Pid::from_raw(victim.cast_signed()), Signal::SIGKILL);
        build.wait().unwrap();
    }
    let words = "export TMPDIR=$PWD/tmp; $front -q build -F x.sif x.def && $front -q build -F -s box x.def && $front exec x.sif ls /opt";
    let seen = commands(&place, words);
    assert_eq!(seen.stdout, "1\n2\n3\nx\n", "{seen:?}");
    let left = || {
        // A build that lost its first process may be removing its files.
        let is_over = names(place.path()) == ["box", "tmp", "x.def", "x.sif"];
        is_over && temporary(&place).is_empty()
    };
    wait_for("the end of all builds", Duration::from_secs(10), left);
}

/// Kills about the time at which the changes of a step are kept.
#[test]
fn kills_leave_no_half_of_a_step_in_the_cache() {
    let place = place();
    let mut random = 88_172_645_463_325_252_u64;
    let script = |round: u32| {
        let step = "dd if=/dev/urandom of=/opt/big bs=1048576 count=20; sleep 1";
        let rest = "wc -c < /opt/big > /opt/size\n    echo two > /opt/two";
        write(
            &place,
            &format!("%post\n    : {round}; {step}\n    {rest}\n"),
        );
    };
    for round in 0..20 {
        script(round);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let words = "/usr/bin/env FRONT_CACHEDIR=$PWD/tmp/cache $front -q build -F x.sif x.def";
        let mut build = started(&place, words);
        std::thread::sleep(Duration::from_millis(1050 + random % 300));
        let family = family(build.id());
        let victim = family[usize::try_from(random >> 32).unwrap() % family.len()];
        let _ = kill(Pid::from_raw(victim.cast_signed()), Signal::SIGKILL);
        build.wait().unwrap();
    }
    let left = || temporary(&place) == ["cache"];
    wait_for("the end of all builds", Duration::from_secs(10), left);
    for round in 0..20 {
        script(round);
        let words = "export TMPDIR=$PWD/tmp FRONT_CACHEDIR=$PWD/tmp/cache; $front -q build -F x.sif x.def 2>&1 | /bin/grep -v ^+; \
            $front exec x.sif cat /opt/size /opt/two";
        let seen = commands(&place, words);
        assert!(
            seen.stdout.ends_with("20971520\ntwo\n"),
            "{round}: {seen:?}"
        );
    }
    let words = "export FRONT_CACHEDIR=$PWD/tmp/cache; $front -q cache clean -f; \
        /usr/bin/find tmp/cache -type f -o -name '*.part' -o -path '*/build/*'";
    let seen = commands(&place, words);
    assert_eq!(seen.stdout, "", "{seen:?}");
}
