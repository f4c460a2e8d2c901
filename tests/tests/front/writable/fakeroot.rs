//! Root inside.

use tests::{run, succeed};

use super::{directory, shell};

#[test]
fn root_is_the_only_user_without_helpers() {
    let place = directory();
    let words = "$front -q exec --fakeroot $bb sh -c 'id -u; id -g; whoami; echo ~; touch f; chown 5:6 f && \
                 chgrp 7 f && stat -c %u:%g f; mknod d c 1 3 && echo made; cat /proc/self/uid_map | wc -l'";
    let seen = succeed(&mut shell(&place, words));
    assert_eq!(seen, "0\n0\nroot\n/root\n0:0\nmade\n1\n");
    // Outside, the file is the user's.
    let owner = run(&mut shell(&place, "/bin/stat -c %U f"));
    assert_eq!(owner.stdout, format!("{}\n", tests::TESTER));
}

#[test]
fn delegated_users_are_mapped_if_there_are_any() {
    let place = directory();
    let words = "$front -q exec --fakeroot --writable-tmpfs $bb sh -c 'touch /f; chown 5:6 /f; stat -c %u:%g /f'";
    let seen = succeed(shell(&place, words).env("PATH", "/usr/bin:/bin"));
    assert_eq!(seen, "5:6\n");
    let single = words.replace("--fakeroot", "--fakeroot --ignore-subuid");
    let seen = succeed(shell(&place, &single).env("PATH", "/usr/bin:/bin"));
    assert_eq!(seen, "0:0\n");
}

#[test]
fn packages_are_installed() {
    let install = "apt-get -q update >/dev/null && apt-get -q install -y --no-install-recommends \
                   openssh-client dbus >/dev/null && ssh -V 2>&1 | cut -c1-7 && getent group _ssh | cut -d: -f1";
    for (flags, path) in [
        ("--overlay o", "/nonexistent"),
        ("--writable-tmpfs", "/nonexistent"),
        ("--writable-tmpfs", "/usr/bin:/bin"),
    ] {
        let place = directory();
        succeed(&mut shell(&place, "/bin/mkdir o"));
        let words = format!(
            "$front -q exec --fakeroot {flags} $py sh -c '{install}' 2>log || /bin/cat log"
        );
        let seen = run(shell(&place, &words).env("PATH", path));
        assert_eq!(seen.stdout, "OpenSSH\n_ssh\n", "{flags} {path}: {seen:?}");
    }
}

#[test]
fn a_contained_root_cannot_undo_what_contains_it() {
    let place = directory();
    // Its rights count only in namespaces of its own.
    let attack = "echo 10 > /proc/sys/user/max_cgroup_namespaces; \
        unshare --cgroup true && echo a cgroup namespace; \
        mount -o remount,rw,bind /sys && echo a writable /sys; \
        umount -l /sys && echo no /sys; umount -l /tmp && echo no /tmp; umount -l /proc && echo no /proc; \
        mkdir /tmp/m && mount -t cgroup2 none /tmp/m && echo cgroups; \
        mount --bind / /tmp/m && umount -l /tmp/m && mount -o remount,rw / && echo a writable root; \
        mount -t tmpfs none /tmp/m && echo own mounts";
    for flags in [
        "-C --fakeroot",
        "-C --fakeroot --ignore-subuid",
        "-c --add-caps all",
        "-c --fakeroot",
    ] {
        for path in ["/nonexistent", "/usr/bin:/bin"] {
            let words = format!("$front -q exec {flags} $py sh -c '{attack}' 2>/dev/null");
            let seen = run(shell(&place, &words).env("PATH", path));
            assert_eq!(seen.stdout, "own mounts\n", "{flags} {path}: {seen:?}");
        }
    }
}

#[test]
fn instances_have_root_too() {
    let place = directory();
    let words = "$front -q instance start --fakeroot $bb fakeroot-test && \
        $front exec instance://fakeroot-test sh -c 'id -u; touch f; chown 5 f && echo changed'; \
        $front -q instance stop fakeroot-test";
    let seen = run(&mut shell(&place, words));
    assert_eq!(seen.stdout, "0\nchanged\n", "{seen:?}");
}

#[test]
fn a_contained_program_without_capabilities_meets_none_with_them() {
    let place = directory();
    let words = "$front -q instance start -C $bb contained-test && \
        $front exec --add-caps all instance://contained-test true; echo $?; \
        $front exec instance://contained-test grep CapEff /proc/self/status; \
        $front -q instance stop contained-test";
    let seen = run(&mut shell(&place, words));
    assert!(
        seen.stderr
            .contains("--add-caps: give it to a contained container"),
        "{seen:?}"
    );
    assert_eq!(seen.stdout, "255\nCapEff:\t0000000000000000\n", "{seen:?}");
    // All programs of a contained root have namespaces of their own, and none may look into another's.
    let words = "$front -q instance start -C --fakeroot $py contained-root; \
        $front exec instance://contained-root sleep 5 & \
        $front -q exec instance://contained-root python3 -c 'import os, time; time.sleep(0.5); own = \
        os.readlink(\"/proc/self/ns/user\"); os.chdir(\"/proc\"); seen = 0\nfor pid in filter(str.isdigit, os.listdir(\".\")):\n  \
        try:\n    seen += pid != str(os.getpid()) and bool(os.readlink(pid + \"/exe\"))\n  except OSError:\n    pass\nprint(seen)'; \
        $front -q instance stop contained-root; wait";
    let seen = run(&mut shell(&place, words));
    assert!(seen.stdout.ends_with("0\n"), "{seen:?}");
}

#[test]
fn programs_that_map_ids_may_fail() {
    let place = directory();
    let script = |name: &str, text: &str| {
        format!("printf '#!/bin/sh\n{text}\n' > {name}; /bin/chmod 755 {name}; ")
    };
    let here = place.path().display().to_string();
    // Each is another container, because an earlier one would be joined.
    let id = |number: u32| format!("$front exec -B /usr:/m{number} --fakeroot $bb id -u");
    for (number, first, second, code) in [
        (1, "exit 1", "exit 1", 0),
        (2, "exec /usr/bin/newuidmap \"$@\"", "exit 1", 255),
    ] {
        let words = script("newuidmap", first) + &script("newgidmap", second) + &id(number);
        let seen = run(shell(&place, &words).env("PATH", format!("{here}:/usr/bin:/bin")));
        assert_eq!(seen.code, code, "{first}: {seen:?}");
        assert_eq!(seen.stderr.lines().count(), 1, "{first}: {seen:?}");
    }
    // One that does not end is ended.
    let words = script("newuidmap", "exec sleep 97") + &script("newgidmap", "exit 1") + &id(3);
    let seen = run(shell(&place, &words).env("PATH", format!("{here}:/usr/bin:/bin")));
    assert!(seen.stderr.contains("does not end"), "{seen:?}");
    let left = tests::testers_processes();
    assert!(!left.iter().any(|(pid, _)| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.contains("97"))
    }));
}
