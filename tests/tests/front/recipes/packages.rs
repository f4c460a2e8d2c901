//! Packages of distributions, whose scripts check what root can do.

use std::process::Command;

use tests::{program, run};

use super::Workshop;

/// Packages whose scripts make users and groups, set attributes and capabilities, and check owners.
const PACKAGES: &str =
    "build-essential openmpi-bin python3-numpy openssh-client systemd dbus iputils-ping sudo";

/// Prints what is wrong with the image.
const CHECK: &str = "for name in gcc mpirun.openmpi ssh systemctl dbus-daemon ping sudo; do command -v $name >/dev/null || echo no $name; done; \
    python3 -c 'import numpy' || echo no numpy; grep -q ^_ssh: /etc/group || echo no group; \
    grep -q ^messagebus: /etc/passwd || echo no user; test -s /var/log/apt/term.log || echo no log; \
    ls /etc/apt/apt.conf.d /etc | grep -E 'front|^(passwd|group|shadow|gshadow).lock$'; dpkg --audit; echo checked";

fn definition(workshop: &Workshop) -> String {
    format!(
        "Bootstrap: docker\nFrom: {}\n%post\n    export DEBIAN_FRONTEND=noninteractive\n    apt-get update\n    \
         apt-get install -y --no-install-recommends {PACKAGES}\n    touch /opt/done\n",
        workshop.base()
    )
}

#[test]
fn packages_are_installed_with_several_users() {
    let workshop = Workshop::new();
    workshop.write("x.def", &definition(&workshop));
    let words = "$front build --no-https --disable-cache x.sif x.def >log 2>&1 || tail -50 log; grep -c 'the users of /etc/subuid' log";
    let seen = workshop.shell(words);
    assert_eq!(seen.stdout, "1\n", "{seen:?}");
    let seen = workshop.shell(&format!("$front exec x.sif sh -c \"{CHECK}\""));
    assert_eq!(seen.stdout, "checked\n", "{seen:?}");
}

/// Without any helper program: only `front` and the image.
#[test]
fn packages_are_installed_with_one_user() {
    let workshop = Workshop::new();
    workshop.write("x.def", &definition(&workshop));
    let words = "$front build --no-https x.sif x.def >log 2>&1 || /usr/bin/tail -50 log; /bin/grep -c 'the only user' log";
    let seen = run(&mut workshop.command(words));
    assert_eq!(seen.stdout, "1\n", "{seen:?}");
    let seen = workshop.shell(&format!("$front exec x.sif sh -c \"{CHECK}\""));
    assert_eq!(seen.stdout, "checked\n", "{seen:?}");
    // A change of the last line does not install them again.
    workshop.write(
        "x.def",
        &definition(&workshop).replace("/opt/done", "/opt/again"),
    );
    let words = "$front build --no-https --ignore-subuid -F x.sif x.def >log 2>&1 || tail -50 log; \
        grep -o 'cache for the post.*' log; grep -c Unpacking log; \
        $front exec x.sif ls /opt";
    let seen = workshop.shell(words);
    assert_eq!(
        seen.stdout, "cache for the post scriptlet above line 7\n0\nagain\n",
        "{seen:?}"
    );
    let seen = workshop.shell(&format!("$front exec x.sif sh -c \"{CHECK}\""));
    assert_eq!(seen.stdout, "checked\n", "{seen:?}");
}

#[test]
fn packages_are_installed_by_real_root() {
    let workshop = Workshop::new();
    let text = definition(&workshop).replace(PACKAGES, "openssh-client dbus iputils-ping");
    workshop.write("x.def", &text);
    let front = |words: &[&str]| {
        let mut command = Command::new(program("front"));
        let home = workshop.place.path();
        run(command
            .args(words)
            .current_dir(home)
            .env("FRONT_CACHEDIR", home.join("roots-cache")))
    };
    let seen = front(&["build", "--no-https", "x.sif", "x.def"]);
    assert_eq!(seen.code, 0, "{seen:?}");
    // The group that may use the keys of ssh-agent.
    let agent = ["exec", "x.sif", "stat", "-c", "%G %a", "/usr/bin/ssh-agent"];
    assert_eq!(front(&agent).stdout, "_ssh 2755\n");
}
