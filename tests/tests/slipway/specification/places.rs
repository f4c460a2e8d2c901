//! Places of mounts and devices, and what runc does beyond the specification's text.

use serde_json::{Value, json};

use super::Expect::{Refused, Sees};
use super::{Row, capabilities, hook, mount, push, without};

/// Replaces the container's `/dev`.
fn device_directory(spec: &mut Value, value: Value) {
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|one| {
        let destination = one["destination"].as_str().unwrap();
        !destination.starts_with("/dev")
    });
    mounts.push(value);
}

/// Adds a tmpfs with three flags at `/opt`, and a bind of it.
fn bind_with_flags(spec: &mut Value, options: Value) {
    let flags = json!(["nosuid", "nodev", "noexec"]);
    let first = json!({"destination": "/opt", "type": "tmpfs", "source": "x", "options": flags});
    push(&mut spec["mounts"], first);
    mount(spec, json!({"source": "rootfs/opt", "options": options}));
}

fn device(spec: &mut Value, device: Value) {
    push(&mut spec["linux"]["devices"], device);
}

pub const ROWS: &[Row] = &[
    (
        "mounts, on a default device",
        |spec| {
            let bind = json!({"destination": "/dev/random", "type": "bind", "source": "/dev/urandom", "options": ["bind"]});
            push(&mut spec["mounts"], bind);
        },
        "stat -c '%t:%T' /dev/random",
        Sees("1:9"),
    ),
    (
        "mounts, nosymfollow",
        |spec| mount(spec, json!({"options": ["rbind", "nosymfollow"]})),
        "grep ' /mnt ' /proc/self/mounts",
        Sees("nosymfollow"),
    ),
    (
        "mounts, noatime nodiratime",
        |spec| mount(spec, json!({"options": ["rbind", "noatime", "nodiratime"]})),
        "grep ' /mnt ' /proc/self/mounts",
        Sees("noatime,nodiratime"),
    ),
    (
        "mounts, atime",
        |spec| mount(spec, json!({"options": ["rbind", "noatime", "relatime"]})),
        "grep ' /mnt ' /proc/self/mounts",
        Sees("noatime"),
    ),
    (
        "mounts, a bind with a flag has no others of its source",
        |spec| bind_with_flags(spec, json!(["bind", "ro"])),
        "grep ' /mnt ' /proc/self/mounts | grep -c nosuid",
        Sees("0"),
    ),
    (
        "mounts, a bind without a flag has those of its source",
        |spec| bind_with_flags(spec, json!(["bind"])),
        "grep ' /mnt ' /proc/self/mounts",
        Sees("nosuid,nodev,noexec"),
    ),
    (
        "mounts, a bind with remount keeps the flags of its source",
        |spec| bind_with_flags(spec, json!(["bind", "remount", "ro"])),
        "grep ' /mnt ' /proc/self/mounts",
        Sees("ro,nosuid,nodev,noexec"),
    ),
    (
        "mounts, rnosuid",
        |spec| {
            mount(
                spec,
                json!({"source": "/sys", "options": ["rbind", "rnosuid"]}),
            )
        },
        "grep ' /mnt ' /proc/self/mounts",
        Sees("nosuid"),
    ),
    (
        "mounts, a source on an earlier mount, from the bundle",
        |spec| {
            mount(spec, json!({"type": "tmpfs", "source": "tmpfs"}));
            let own = json!({"destination": "/opt", "type": "bind", "source": "rootfs/mnt", "options": ["rbind"]});
            push(&mut spec["mounts"], own);
        },
        "grep ' /opt ' /proc/self/mounts",
        Sees("tmpfs"),
    ),
    (
        "mounts, a place that is missing",
        |spec| {
            mount(
                spec,
                json!({"destination": "/a/b/../c", "options": ["rbind"]}),
            )
        },
        "ls -d /a/c/doc",
        Sees("/a/c/doc"),
    ),
    (
        "mounts, a file on a directory",
        |spec| {
            mount(
                spec,
                json!({"source": "/etc/hostname", "options": ["bind"]}),
            )
        },
        "",
        Refused("the image has a directory"),
    ),
    (
        "mounts, a directory on a file",
        |spec| {
            mount(
                spec,
                json!({"destination": "/etc/passwd", "options": ["rbind"]}),
            )
        },
        "",
        Refused("the image has a file"),
    ),
    (
        "mounts, a source that is missing",
        |spec| mount(spec, json!({"source": "/nowhere", "options": ["rbind"]})),
        "",
        Refused("/nowhere: no such file or directory"),
    ),
    (
        "mounts, the root",
        |spec| mount(spec, json!({"destination": "/x/..", "options": ["rbind"]})),
        "",
        Refused("the root cannot be mounted on"),
    ),
    (
        "mounts, a bind with an option of a file system",
        |spec| mount(spec, json!({"options": ["rbind", "size=1m"]})),
        "",
        Refused("a bind has no option"),
    ),
    (
        "mounts, an unknown option",
        |spec| {
            mount(
                spec,
                json!({"type": "tmpfs", "source": "x", "options": ["nosuch=1"]}),
            )
        },
        "",
        Refused("nosuch"),
    ),
    (
        "mounts, an unknown type",
        |spec| mount(spec, json!({"type": "nosuchfs", "source": "x"})),
        "",
        Refused("error mounting /mnt"),
    ),
    (
        "mounts, tmpfs in the mode of the directory",
        |spec| {
            mount(
                spec,
                json!({"destination": "/root", "type": "tmpfs", "source": "x"}),
            )
        },
        "a=$(stat -c %a /root); [ $a != 1777 ] && echo the directory\\'s",
        Sees("the directory's"),
    ),
    (
        "mounts, tmpfs where nothing was",
        |spec| {
            mount(
                spec,
                json!({"destination": "/new", "type": "tmpfs", "source": "x"}),
            )
        },
        "stat -c %a /new",
        Sees("1777"),
    ),
    (
        "mounts, tmpfs, mode",
        |spec| {
            mount(
                spec,
                json!({"type": "tmpfs", "source": "x", "options": ["mode=0710"]}),
            )
        },
        "stat -c %a /mnt",
        Sees("710"),
    ),
    (
        "mounts, tmpfs, options in one word",
        |spec| {
            mount(
                spec,
                json!({"type": "tmpfs", "source": "x", "options": ["size=64k,mode=0711"]}),
            )
        },
        "df -k /mnt | tail -1; stat -c %a /mnt",
        Sees("711"),
    ),
    (
        "mounts, tmpfs, ro, with a place on it",
        |spec| {
            mount(
                spec,
                json!({"type": "tmpfs", "source": "x", "options": ["ro"]}),
            );
            let inner = json!({"destination": "/mnt/in", "type": "bind", "source": "/usr/share", "options": ["rbind"]});
            push(&mut spec["mounts"], inner);
        },
        "ls -d /mnt/in/doc; touch /mnt/x",
        Sees("/mnt/in/doc\ntouch: /mnt/x: Read-only"),
    ),
    (
        "mounts, tmpfs, sync",
        |spec| {
            mount(
                spec,
                json!({"type": "tmpfs", "source": "x", "options": ["sync"]}),
            )
        },
        "grep ' /mnt ' /proc/self/mounts",
        Sees("sync"),
    ),
    (
        "mounts, /dev, ro",
        |spec| {
            device_directory(
                spec,
                json!({"destination": "/dev", "type": "tmpfs", "source": "x", "options": ["ro"]}),
            )
        },
        "ls /dev/null; touch /dev/x",
        Sees("/dev/null\ntouch: /dev/x: Read-only"),
    ),
    (
        "mounts, /dev, the host's",
        |spec| {
            device_directory(
                spec,
                json!({"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "ro"]}),
            )
        },
        "ls /dev/null /dev/full",
        Sees("/dev/null"),
    ),
    (
        "mounts, /dev, none",
        |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|one| !one["destination"].as_str().unwrap().starts_with("/dev"));
        },
        "ls -l /dev/null /dev/fd",
        Sees("/proc/self/fd"),
    ),
    (
        "mounts, sysfs without a network namespace of its user's",
        |spec| {
            without(spec, "network");
            push(&mut spec["linux"]["namespaces"], json!({"type": "user"}));
            let mappings = json!([{"containerID": 0, "hostID": 0, "size": 4_294_967_294_u32}]);
            spec["linux"]["uidMappings"] = mappings.clone();
            spec["linux"]["gidMappings"] = mappings;
        },
        "ls -d /sys/kernel",
        Sees("/sys/kernel"),
    ),
    (
        "linux.devices, outside of /dev",
        |spec| {
            device(
                spec,
                json!({"path": "/opt/null", "type": "c", "major": 1, "minor": 3}),
            )
        },
        "ls -l /opt/null",
        Sees("1,   3"),
    ),
    (
        "linux.devices, a slash at the end",
        |spec| {
            device(
                spec,
                json!({"path": "/dev/mine/", "type": "c", "major": 1, "minor": 3}),
            )
        },
        "ls -l /dev/mine",
        Sees("1,   3"),
    ),
    (
        "linux.devices, a pipe",
        |spec| {
            device(
                spec,
                json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o620}),
            )
        },
        "ls -l /dev/pipe",
        Sees("prw--w----"),
    ),
    (
        "linux.devices, a default one in another mode",
        |spec| {
            device(
                spec,
                json!({"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600}),
            )
        },
        "ls -l /dev/zero",
        Sees("crw-------"),
    ),
    (
        "linux.devices, /dev/ptmx",
        |spec| {
            device(
                spec,
                json!({"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}),
            )
        },
        "readlink /dev/ptmx",
        Sees("pts/ptmx"),
    ),
    (
        "linux.devices, no device",
        |spec| {
            device(
                spec,
                json!({"path": "/dev/x", "type": "z", "major": 5, "minor": 2}),
            )
        },
        "",
        Refused("`z`"),
    ),
    (
        "linux.readonlyPaths, with programs",
        |spec| push(&mut spec["linux"]["readonlyPaths"], json!("/bin")),
        "touch /bin/x; ls -d /bin",
        Sees("Read-only file system\n/bin"),
    ),
    (
        "linux.maskedPaths, directories and a file, twice",
        |spec| {
            for path in ["/opt", "/srv", "/etc/passwd", "/opt", "/nosuch"] {
                push(&mut spec["linux"]["maskedPaths"], json!(path));
            }
        },
        "ls /opt /srv | wc -w; wc -c < /etc/passwd; grep -c ' /opt ' /proc/self/mounts",
        Sees("0\n1\n"),
    ),
    ("process.user.umask, none", |_| (), "umask", Sees("0022")),
    (
        "process.capabilities, inheritable beyond the permitted",
        |spec| {
            capabilities(
                spec,
                &["bounding", "inheritable"],
                &["CAP_CHOWN", "CAP_SYSLOG"],
            );
            spec["process"]["capabilities"]["permitted"] = json!(["CAP_CHOWN"]);
        },
        "grep CapInh /proc/self/status",
        Sees("0000000400000001"),
    ),
    (
        "process.scheduler, a flag",
        |spec| {
            spec["process"]["scheduler"] =
                json!({"policy": "SCHED_BATCH", "nice": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]});
        },
        "echo it runs",
        Sees("it runs"),
    ),
    (
        "process.scheduler, a priority without real time",
        |spec| spec["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "priority": 3}),
        "",
        Refused("SCHED_FIFO and SCHED_RR only"),
    ),
    (
        "process.scheduler, an impossible deadline",
        |spec| {
            spec["process"]["scheduler"] =
                json!({"policy": "SCHED_DEADLINE", "runtime": 3000, "deadline": 2000})
        },
        "",
        Refused("must be <= deadline"),
    ),
    (
        "process.scheduler, deadlines with a set of CPUs",
        |spec| {
            spec["process"]["scheduler"] =
                json!({"policy": "SCHED_DEADLINE", "runtime": 3000, "deadline": 3000});
            spec["linux"]["resources"]["cpu"]["cpus"] = json!("0");
        },
        "",
        Refused("AllowedCPUs"),
    ),
    (
        "linux.memoryPolicy, an unknown mode",
        |spec| spec["linux"]["memoryPolicy"] = json!({"mode": "X"}),
        "",
        Refused("invalid memory policy mode"),
    ),
    (
        "linux.personality, flags",
        |spec| spec["linux"]["personality"] = json!({"domain": "LINUX", "flags": ["X"]}),
        "",
        Refused("linux.personality.flags"),
    ),
    (
        "linux.resources.pids, 0",
        |spec| {
            spec["linux"]["resources"]["pids"] = json!({"limit": 0});
            let cgroups = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "x", "options": ["ro"]});
            push(&mut spec["mounts"], cgroups);
        },
        "for file in /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max; do [ -e $file ] && read n < $file && echo limit $n; done; true",
        Sees("limit 1"),
    ),
    (
        "mounts, in the host's mount namespace",
        |spec| {
            without(spec, "mount");
            spec["linux"]["maskedPaths"] = json!([]);
            spec["linux"]["readonlyPaths"] = json!([]);
        },
        "",
        Refused("need a mount namespace"),
    ),
    (
        "linux.namespaces, one twice",
        |spec| push(&mut spec["linux"]["namespaces"], json!({"type": "ipc"})),
        "",
        Refused("is there twice"),
    ),
    (
        "linux.namespaces, an unknown one",
        |spec| push(&mut spec["linux"]["namespaces"], json!({"type": "x"})),
        "",
        Refused("x"),
    ),
    (
        "hooks, the runtime's environment if they have none",
        |spec| hook(spec, "createRuntime", &["sh", "-c", "test -n \"$PATH\""], 9),
        "echo the hook was well",
        Sees("the hook was well"),
    ),
    (
        "hooks.createContainer, in the root, with the process",
        |spec| {
            hook(
                spec,
                "createContainer",
                &[
                    "sh",
                    "-c",
                    "test -d ../rootfs/bin && grep -q '\"pid\":[1-9]'",
                ],
                9,
            )
        },
        "echo the hook was well",
        Sees("the hook was well"),
    ),
    (
        "hooks, the number of one that fails",
        |spec| hook(spec, "createRuntime", &["sh", "-c", "exit 3"], 9),
        "",
        Refused("error running createRuntime hook #0"),
    ),
];
