//! The process, the host's name, hooks.

use serde_json::{Value, json};

use super::Expect::{Refused, Sees, Stops};
use super::{Row, capabilities, hook, push};

pub const ROWS: &[Row] = &[
    (
        "ociVersion",
        |spec| spec["ociVersion"] = json!("2.0.0"),
        "",
        Refused("version"),
    ),
    (
        "root.readonly",
        |spec| spec["root"]["readonly"] = json!(true),
        "touch /x",
        Sees("Read-only file system"),
    ),
    (
        "hostname",
        |spec| spec["hostname"] = json!("here"),
        "hostname",
        Sees("here"),
    ),
    (
        "domainname",
        |spec| spec["domainname"] = json!("there"),
        "cat /proc/sys/kernel/domainname",
        Sees("there"),
    ),
    (
        "process.terminal",
        |spec| spec["process"]["terminal"] = json!(true),
        "tty",
        Sees("/dev/pts/"),
    ),
    (
        "process.cwd",
        |spec| spec["process"]["cwd"] = json!("/tmp"),
        "pwd",
        Sees("/tmp"),
    ),
    (
        "process.cwd, made",
        |spec| spec["process"]["cwd"] = json!("/made/here"),
        "pwd",
        Sees("/made/here"),
    ),
    (
        "process.env",
        |spec| push(&mut spec["process"]["env"], json!("A=b c")),
        "echo \"<$A>\"",
        Sees("<b c>"),
    ),
    (
        "process.user",
        |spec| spec["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]}),
        "id",
        Sees("uid=5 gid=6 groups=7"),
    ),
    (
        "process.user, owner of the standard streams",
        |spec| spec["process"]["user"] = json!({"uid": 5, "gid": 6}),
        "echo through > /dev/stdout; echo errors > /dev/stderr",
        Sees("through"),
    ),
    (
        "process.user.umask",
        |spec| spec["process"]["user"]["umask"] = json!(0o27),
        "umask",
        Sees("0027"),
    ),
    (
        "process.capabilities",
        |spec| capabilities(spec, &["bounding", "effective", "permitted"], &["CAP_KILL"]),
        "grep CapEff /proc/self/status",
        Sees("0000000000000020"),
    ),
    (
        "process.capabilities.ambient",
        |spec| {
            capabilities(
                spec,
                &[
                    "bounding",
                    "effective",
                    "permitted",
                    "inheritable",
                    "ambient",
                ],
                &["CAP_KILL"],
            );
        },
        "grep CapAmb /proc/self/status",
        Sees("0000000000000020"),
    ),
    (
        "process.capabilities, unknown",
        |spec| capabilities(spec, &["bounding"], &["CAP_NOSUCH"]),
        "echo warned",
        Sees("warned"),
    ),
    (
        "process.capabilities, absent",
        |spec| spec["process"]["capabilities"] = Value::Null,
        "grep CapEff /proc/self/status",
        Sees("0000000000000000"),
    ),
    (
        "process.rlimits",
        |spec| {
            spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}])
        },
        "ulimit -n; ulimit -Hn",
        Sees("77\n78"),
    ),
    (
        "process.noNewPrivileges",
        |spec| spec["process"]["noNewPrivileges"] = json!(true),
        "grep NoNewPrivs /proc/self/status",
        Sees("1"),
    ),
    (
        "process.oomScoreAdj",
        |spec| spec["process"]["oomScoreAdj"] = json!(123),
        "cat /proc/self/oom_score_adj",
        Sees("123"),
    ),
    (
        "process.scheduler",
        |spec| spec["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 0}),
        "grep policy /proc/$$/sched | tr -s ' '",
        Sees(": 3"),
    ),
    (
        "process.ioPriority",
        |spec| spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}),
        "ionice -p $$",
        Sees("idle"),
    ),
    (
        "process.selinuxLabel",
        |spec| spec["process"]["selinuxLabel"] = json!("a_t"),
        "",
        Refused("this host has no SELinux"),
    ),
    (
        "annotations",
        |spec| spec["annotations"] = json!({"a": "b"}),
        "echo taken",
        Sees("taken"),
    ),
    (
        "hooks.prestart",
        |spec| hook(spec, "prestart", &["sh", "-c", "exit 3"], 5),
        "",
        Stops("hook"),
    ),
    (
        "hooks.createRuntime",
        |spec| hook(spec, "createRuntime", &["sh", "-c", "exit 3"], 5),
        "",
        Stops("hook"),
    ),
    (
        "hooks.createContainer",
        |spec| hook(spec, "createContainer", &["sh", "-c", "exit 3"], 5),
        "",
        Stops("hook"),
    ),
    (
        "hooks.startContainer",
        |spec| {
            hook(
                spec,
                "startContainer",
                &["sh", "-c", "echo hooked >/dev/shm/hook"],
                5,
            )
        },
        "cat /dev/shm/hook",
        Sees("hooked"),
    ),
    (
        "hooks.poststart",
        |spec| hook(spec, "poststart", &["sh", "-c", "exit 0"], 5),
        "echo started",
        Sees("started"),
    ),
    (
        "hooks.poststop, failing",
        |spec| hook(spec, "poststop", &["sh", "-c", "exit 3"], 5),
        "echo ended",
        Sees("ended"),
    ),
    (
        "hooks, timeout",
        |spec| hook(spec, "createRuntime", &["sh", "-c", "sleep 9"], 1),
        "",
        Stops("hook"),
    ),
];
