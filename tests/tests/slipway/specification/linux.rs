//! Namespaces, devices, filters, paths.

use serde_json::{Value, json};

use super::Expect::{Refused, Sees};
use super::{Row, capabilities, push, without};

pub const ROWS: &[Row] = &[
    ("linux.namespaces, pid", |_| (), "echo $$", Sees("1")),
    (
        "linux.namespaces, network",
        |_| (),
        "ls /sys/class/net",
        Sees("lo"),
    ),
    (
        "linux.namespaces, by path",
        |spec| {
            without(spec, "uts");
            push(
                &mut spec["linux"]["namespaces"],
                json!({"type": "uts", "path": format!("/proc/{}/ns/uts", std::process::id())}),
            );
            spec["hostname"] = Value::Null;
        },
        "readlink /proc/self/ns/uts",
        Sees("uts:["),
    ),
    (
        "linux.namespaces, the host's mount namespace by path",
        |spec| {
            without(spec, "mount");
            push(
                &mut spec["linux"]["namespaces"],
                json!({"type": "mount", "path": "/proc/self/ns/mnt"}),
            );
        },
        "",
        Refused("mount namespace of the host"),
    ),
    (
        "linux.namespaces, time",
        |spec| {
            push(&mut spec["linux"]["namespaces"], json!({"type": "time"}));
            spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000_000}});
        },
        "cut -c 1-2 /proc/uptime",
        Sees("10"),
    ),
    (
        "linux.namespaces, user",
        |spec| {
            push(&mut spec["linux"]["namespaces"], json!({"type": "user"}));
            let mappings = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}, {"containerID": 1000, "hostID": 300_000, "size": 5}]);
            spec["linux"]["uidMappings"] = mappings.clone();
            spec["linux"]["gidMappings"] = mappings;
        },
        "cat /proc/self/uid_map | tr -s ' '",
        Sees("1000 300000 5"),
    ),
    (
        "linux.namespaces, user without mappings",
        |spec| push(&mut spec["linux"]["namespaces"], json!({"type": "user"})),
        "",
        Refused("uidMappings"),
    ),
    (
        "linux.devices",
        |spec| spec["linux"]["devices"] = json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6}]),
        "ls -ln /dev/mine",
        Sees("crw-r-----    1 5        6"),
    ),
    (
        "linux.cgroupsPath",
        |spec| {
            without(spec, "cgroup");
            spec["linux"]["cgroupsPath"] = json!("/tests-specification/one");
        },
        "cat /proc/self/cgroup",
        Sees(":/tests-specification/one"),
    ),
    (
        "linux.cgroupsPath, out",
        |spec| spec["linux"]["cgroupsPath"] = json!("../x"),
        "",
        Refused("leads out"),
    ),
    (
        "linux.resources.memory",
        |spec| {
            spec["linux"]["resources"]["memory"] = json!({"limit": 33_554_432});
            push(
                &mut spec["mounts"],
                json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}),
            );
        },
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null",
        Sees("33554432"),
    ),
    (
        "linux.resources.pids",
        |spec| {
            spec["linux"]["resources"]["pids"] = json!({"limit": 33});
            push(
                &mut spec["mounts"],
                json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}),
            );
        },
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null",
        Sees("33"),
    ),
    (
        "linux.resources.devices",
        |spec| {
            capabilities(
                spec,
                &["bounding", "effective", "permitted"],
                &["CAP_MKNOD"],
            );
            spec["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}]);
        },
        "mknod /dev/y c 10 229; cat /dev/y",
        Sees("Operation not permitted"),
    ),
    (
        "linux.sysctl",
        |spec| spec["linux"]["sysctl"] = json!({"kernel.shmmni": "4097"}),
        "cat /proc/sys/kernel/shmmni",
        Sees("4097"),
    ),
    (
        "linux.seccomp",
        |spec| {
            spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]});
        },
        "mkdir /dev/shm/x",
        Sees("No space left"),
    ),
    (
        "linux.seccomp without noNewPrivileges",
        |spec| {
            spec["process"]["noNewPrivileges"] = json!(false);
            spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]});
        },
        "mkdir /dev/shm/x",
        Sees("No space left"),
    ),
    (
        "linux.maskedPaths",
        |spec| spec["linux"]["maskedPaths"] = json!(["/etc/os-release"]),
        "cat /etc/os-release | wc -c",
        Sees("0"),
    ),
    (
        "linux.readonlyPaths",
        |spec| {
            spec["root"]["readonly"] = json!(false);
            spec["linux"]["readonlyPaths"] = json!(["/dev/shm"]);
        },
        "touch /dev/shm/x",
        Sees("Read-only"),
    ),
    (
        "linux.rootfsPropagation",
        |spec| spec["linux"]["rootfsPropagation"] = json!("rprivate"),
        "grep -c master: /proc/self/mountinfo",
        Sees("0"),
    ),
    (
        "linux.rootfsPropagation, unknown",
        |spec| spec["linux"]["rootfsPropagation"] = json!("sideways"),
        "",
        Refused("is not supported"),
    ),
    (
        "linux.personality.flags",
        |spec| spec["linux"]["personality"] = json!({"domain": "LINUX", "flags": ["x"]}),
        "",
        Refused("personality"),
    ),
    (
        "linux.namespaces, loopback of a new network",
        |spec| {
            without(spec, "network");
            push(&mut spec["linux"]["namespaces"], json!({"type": "network"}));
        },
        "ip addr show lo",
        Sees("127.0.0.1"),
    ),
    (
        "linux.netDevices",
        |spec| spec["linux"]["netDevices"] = json!({"nosuch0": {}}),
        "",
        Refused("network device"),
    ),
];
