//! Ways in which builds break for people, with one user and with several, as real root, and in
//! containers of an engine.

use std::process::Command;

use tests::{fixture, program, run, saved};

use super::{ROOTS, Workshop};

/// Commands that give files to others, and look at them again.
const OWNERS: &str = r#"
    touch /opt/f; chown 33:33 /opt/f; mkdir /t; cp /opt/f /t/f
    tar --owner=33 --group=33 -cf /t.tar /t
    mkdir /u; tar --same-owner -xf /t.tar -C /u; cp -a /u /v
    install -o 33 -g 33 /opt/f /opt/installed
    dpkg-statoverride --update --add root mail 2755 /opt/installed
    dpkg-statoverride --list /opt/installed
    chown 33 /opt/f; stat -c %u /opt/f; chown 0:0 /opt/f
    groupadd -r own; useradd -r -g own own; chown own:own /u
    mknod /opt/null c 1 3
    mkdir -p /opt/closed/in; touch /opt/closed/in/f; chown -R 33:33 /opt/closed; chmod 0 /opt/closed/in
    setcap cap_net_raw+ep /opt/installed || :
    ls /etc/*.lock 2>/dev/null || :
    sudo -n true 2>/dev/null || :
"#;

/// Prints owners and modes.
const LOOK: &str = "stat -c '%n %u:%g %a' /opt/f /opt/installed /u /v/t/f /opt/closed/in";
/// The owners if there are several users, and if there is one.
const KEPT: &str = "/opt/f 0:0 664\n/opt/installed 0:8 2755\n/u 999:999 775\n/v/t/f 33:33 664\n/opt/closed/in 33:33 0\n";
const SQUASHED: &str =
    "/opt/f 0:0 664\n/opt/installed 0:0 2755\n/u 0:0 775\n/v/t/f 0:0 664\n/opt/closed/in 0:0 0\n";

#[test]
fn owners_are_kept_or_squashed_and_that_is_said() {
    let workshop = Workshop::new();
    let text = format!(
        "Bootstrap: docker\nFrom: {}\n%post{OWNERS}",
        workshop.base()
    );
    workshop.write("x.def", &text);
    let home = workshop.place.path();
    for (root, expected, said) in [
        (ROOTS[0], KEPT, "files keep their owners"),
        (ROOTS[1], SQUASHED, "all files belong to root"),
    ] {
        let seen = workshop.shell(&format!(
            "$front build --no-https {root} -F x.sif x.def >log 2>&1 || tail -50 log; grep -c '{said}' log; ls -A $TMPDIR"
        ));
        assert_eq!(seen.stdout.lines().next(), Some("1"), "{root}: {seen:?}");
        // Real root sees them as they are.
        let mut front = Command::new(program("front"));
        front
            .args(["exec", "x.sif", "sh", "-c", LOOK])
            .current_dir(home);
        let seen = run(front.env("FRONT_CACHEDIR", home.join("roots-cache")));
        assert_eq!(seen.stdout, expected, "{root}: {seen:?}");
    }
    let mut front = Command::new(program("front"));
    front
        .args(["build", "--no-https", "-F", "root.sif", "x.def"])
        .current_dir(home);
    let seen = run(front.env("FRONT_CACHEDIR", home.join("roots-cache")));
    assert_eq!(seen.code, 0, "{seen:?}");
    let mut front = Command::new(program("front"));
    front
        .args(["exec", "root.sif", "sh", "-c", LOOK])
        .current_dir(home);
    assert_eq!(run(&mut front).stdout, KEPT);
}

/// Files of other users, in closed directories, that a killed build has left.
#[test]
fn what_a_killed_build_left_is_removed_by_the_next() {
    let workshop = Workshop::new();
    let base = fixture("bb.sif").display().to_string();
    let script = "mkdir -p /opt/a/b; touch /opt/a/b/c; chown -R 5:5 /opt/a; chmod 0 /opt/a/b /opt/a; echo ready; sleep 600";
    let text = format!("Bootstrap: localimage\nFrom: {base}\n%post\n    {script}\n");
    workshop.write("x.def", &text);
    let words = "mkdir tmp; export TMPDIR=$PWD/tmp; $front build x.sif x.def >log 2>&1 & \
        until grep -q ^ready log; do sleep 0.1; done; \
        for process in $(ps -o pid= --ppid $! ) $!; do kill -9 $process $(ps -o pid= --ppid $process); done; \
        sleep 0.2; ls -A tmp | wc -l";
    let seen = workshop.shell(words);
    assert_eq!(seen.stdout, "1\n", "{seen:?}");
    workshop.write("y.def", &format!("Bootstrap: localimage\nFrom: {base}\n"));
    let words = "export TMPDIR=$PWD/tmp; $front -q build y.sif y.def; ls -A tmp | wc -l; $front -q cache clean -f; echo done";
    let seen = workshop.shell(words);
    assert_eq!(seen.stdout, "0\ndone\n", "{seen:?}");
}

/// Names of servers in all the ways in which images have them, or have not.
#[test]
fn names_are_resolved_whatever_the_image_has() {
    let workshop = Workshop::new();
    let base = workshop.place.path().join("base");
    let target = base.join("etc/resolv.conf");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(fixture("bb"))
        .arg(&base)
        .status();
    assert!(copied.unwrap().success());
    for link in [
        Some("/run/systemd/resolve/stub-resolv.conf"),
        Some("../run/systemd/resolve/stub-resolv.conf"),
        None,
    ] {
        let _ = std::fs::remove_file(&target);
        if let Some(link) = link {
            std::os::unix::fs::symlink(link, &target).unwrap();
        }
        for root in ROOTS {
            workshop.write(
                "x.def",
                "Bootstrap: localimage\nFrom: base\n%post\n    grep -c nameserver /etc/resolv.conf\n",
            );
            let seen = workshop.shell(&format!(
                "grep -c nameserver /etc/resolv.conf; $front -q build {root} -F x.sif x.def"
            ));
            let mut lines = seen.stdout.lines();
            assert_eq!(lines.next(), lines.next(), "{link:?}, {root}: {seen:?}");
            assert_eq!(seen.code, 0, "{link:?}, {root}: {seen:?}");
        }
    }
}

/// Bases from the oldest to the newest, one with another C library, and one without a shell.
#[test]
fn a_base_need_not_be_like_the_host() {
    let workshop = Workshop::new();
    for name in ["old", "new", "musl", "bb"] {
        // Only root can read all files of the directories.
        let image = workshop.image("base.sif");
        let mut pack = Command::new(program("front"));
        pack.args(["build", "-F"]).arg(&image).arg(fixture(name));
        let home = workshop.place.path();
        assert_eq!(
            run(pack.env("FRONT_CACHEDIR", home.join("roots-cache"))).code,
            0
        );
        for root in ROOTS {
            let text = format!(
                "Bootstrap: localimage\nFrom: {}\n%post\n    cat /proc/self/maps > /opt/maps\n    echo fine\n",
                image.display()
            );
            workshop.write("x.def", &text);
            let words = format!(
                "$front -q build {root} -F x.sif x.def; $front -q exec x.sif cat /opt/maps"
            );
            let seen = workshop.shell(&words);
            assert!(
                seen.stdout.starts_with("fine\n"),
                "{name}, {root}: {seen:?}"
            );
            assert!(
                !seen.stdout.contains("/.singularity.d/libs"),
                "{name}: {seen:?}"
            );
        }
    }
    workshop.write("x.def", "Bootstrap: scratch\n%post\n    echo never\n");
    let seen = workshop.shell("rm *.sif; $front build x.sif x.def; ls x.sif");
    assert_eq!(seen.stdout, "", "{seen:?}");
    let fatal = "FATAL:   stat /bin/sh: no such file or directory\n";
    assert!(seen.stderr.contains(fatal), "{seen:?}");
}

/// Root of a container of an engine, where files can be given to others, and cannot.
#[test]
fn root_of_an_engines_container_builds() {
    let (workshop, saved) = (Workshop::new(), saved());
    workshop.write(
        "x.def",
        "Bootstrap: localimage\nFrom: /bb.sif\n%post\n    touch /opt/f; chown 3:4 /opt/f; mknod /opt/null c 1 3\n    \
         mkdir -p /opt/d; chmod 0 /opt/d\n%test\n    stat -c %u:%g /opt/f\n",
    );
    for (ids, expected) in [("65536", "3:4\n"), ("1", "0:0\n")] {
        let mut flags: Vec<String> = ["--uidmap", "--gidmap"]
            .map(|flag| format!("{flag}=0:100000:{ids}"))
            .into();
        flags.push("--env=FRONT_CACHEDIR=/tmp".to_owned());
        let files = [
            (program("front"), "/front"),
            (fixture("bb.sif"), "/bb.sif"),
            (workshop.image("x.def"), "/x.def"),
        ];
        let words = ["sh", "-c", "/front -q build /tmp/x.sif /x.def"];
        let mut podman = tests::in_container(saved.path(), &flags, &files, &words);
        let seen = run(&mut podman);
        assert_eq!(
            (seen.code, seen.stdout.as_str()),
            (0, expected),
            "{ids}: {seen:?}"
        );
    }
}

#[test]
fn a_host_without_user_namespaces_is_named() {
    let workshop = Workshop::new();
    let base = fixture("bb.sif").display().to_string();
    workshop.write(
        "x.def",
        &format!("Bootstrap: localimage\nFrom: {base}\n%post\n    true\n"),
    );
    let words = "unshare -r sh -c 'echo 0 > /proc/sys/user/max_user_namespaces; $front build x.sif x.def' 2>&1; echo $?; ls *.sif";
    let seen = workshop.shell(words);
    let fatal = seen
        .stdout
        .lines()
        .find(|line| line.starts_with("FATAL:"))
        .unwrap_or_default();
    assert!(fatal.contains("user.max_user_namespaces"), "{seen:?}");
    assert!(seen.stdout.ends_with("255\n"), "{seen:?}");
}
