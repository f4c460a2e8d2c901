//! Limits of resources, in a guest with cgroups of version 2 that are delegated to an ordinary user, and
//! on this host, where none may be.

use tests::{fixture, front, home, in_guest, program, run, tester};

#[test]
fn limits_hold_and_their_cgroups_go() {
    let place = home();
    let (uid, image) = (tester(), fixture("bb"));
    let script = format!(
        "mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null\ncd /sys/fs/cgroup\n\
         echo '+cpu +memory +pids +io +cpuset' > cgroup.subtree_control || echo '+cpu +memory +pids' > cgroup.subtree_control\n\
         mkdir -p job/own\necho '+cpu +memory +pids' > job/cgroup.subtree_control\n\
         chown -R {uid} job\necho $$ > job/own/cgroup.procs\ncd /\n\
         front() {{ setpriv --reuid {uid} --regid {uid} --clear-groups env -i PATH=/usr/bin:/bin HOME=/tmp {front} \"$@\"; }}\n\
         show='cat /proc/self/cgroup | sed s/-[0-9]*$//; cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); cat memory.max pids.max cpu.max'\n\
         front exec --memory 64M --pids-limit 20 --cpus 0.5 {image} sh -c \"$show\"\n\
         printf '[pids]\\nlimit = 7\\n' > /tmp/limits.toml\n\
         front exec --apply-cgroups /tmp/limits.toml {image} sh -c 'cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/pids.max'\n\
         front exec --cpuset-cpus 0 {image} true 2>&1 | cut -c1-40\n\
         front -q instance start --memory 48M {image} limited\n\
         front exec instance://limited dd if=/dev/zero of=/dev/null bs=20M & sleep 1\n\
         front instance stats --no-stream --json limited; front -q instance stop limited\n\
         sleep 1; ls /sys/fs/cgroup/job | grep -c front\n",
        front = program("front").display(),
        image = image.display(),
    );
    let outcome = in_guest(place.path(), &script);
    let text = outcome.stdout.replace('\r', "");
    for words in [
        "0::/job/front\n67108864\n20\n50000 100000\n",
        "\n7\n",
        "FATAL:   --cpuset-cpus: limits need a cg",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // The instance was busy, and its program held 20 MiB.
    let value = |name: &str| -> f64 {
        let rest = text.split(&format!("\"{name}\": ")).nth(1).unwrap();
        rest.split([',', '\n']).next().unwrap().parse().unwrap()
    };
    assert!(value("cpu_percent") > 30.0, "{text}");
    let memory = value("memory_bytes") / 1024.0 / 1024.0;
    assert!((20.0..32.0).contains(&memory), "{memory}: {text}");
    assert!(
        (value("memory_limit_bytes") - 48.0 * 1024.0 * 1024.0).abs() < 1.0,
        "{text}"
    );
    assert!(value("pids") >= 2.0, "{text}");
    // No cgroup is left.
    assert!(text.trim_end().ends_with("\n0"), "{text}");
}

#[test]
fn what_cannot_be_limited_is_refused() {
    let image = fixture("bb").display().to_string();
    for (flag, value) in [
        ("--memory", "much"),
        ("--cpus", "0"),
        ("--memory-swap", "1G"),
    ] {
        let seen = run(&mut front(["exec", flag, value, &image, "true"]));
        assert_eq!(seen.code, 255, "{seen:?}");
        assert!(
            seen.stderr.starts_with(&format!("FATAL:   {flag}")),
            "{seen:?}"
        );
        assert_eq!(seen.stderr.lines().count(), 1, "{seen:?}");
    }
    // Nothing is delegated to the ordinary user here.
    let seen = run(&mut front(["exec", "--pids-limit", "100", &image, "true"]));
    assert_eq!(seen.code, 255, "{seen:?}");
    assert!(seen.stderr.contains("ask the batch system"), "{seen:?}");
}
