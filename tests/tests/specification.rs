//! Each property of the runtime specification: what is asked, and what the container then sees, or the
//! words it is refused with. `docs/specification.md` is what this prints; with `UPDATE=1` it is written.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::{Bundle, run};

/// What is to come of it.
enum Expect {
    /// The container's output has this in it.
    Sees(&'static str),
    /// It is refused with these words.
    Refused(&'static str),
    /// It is done, and as it was made to fail, stops the container with these words.
    Stops(&'static str),
}
use Expect::{Refused, Sees, Stops};

/// A property, how it is asked for, what the container runs, and what is to come of it.
type Row = (&'static str, fn(&mut Value), &'static str, Expect);

fn push(list: &mut Value, value: Value) {
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().unwrap().push(value);
}

fn without(spec: &mut Value, kind: &str) {
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|one| one["type"] != kind);
}

/// The mount of the specification's user, in `/mnt`.
fn mount(spec: &mut Value, value: Value) {
    let mut mount = json!({"destination": "/mnt", "type": "bind", "source": "/usr/share"});
    for (name, value) in value.as_object().unwrap() {
        mount[name] = value.clone();
    }
    push(&mut spec["mounts"], mount);
}

fn hook(spec: &mut Value, point: &str, args: &[&str], timeout: u32) {
    let hook = json!({"path": "/bin/sh", "args": args, "timeout": timeout});
    spec["hooks"][point] = json!([hook]);
}

fn capabilities(spec: &mut Value, sets: &[&str], names: &[&str]) {
    spec["process"]["capabilities"] = json!({});
    for set in sets {
        spec["process"]["capabilities"][set] = json!(names);
    }
}

fn rows() -> Vec<Row> {
    let mut rows = general();
    rows.extend(mounts());
    rows.extend(linux());
    rows
}

fn general() -> Vec<Row> {
    vec![
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
                spec["process"]["rlimits"] =
                    json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}])
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
            |spec| {
                spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0})
            },
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
    ]
}

fn mounts() -> Vec<Row> {
    vec![
        (
            "mounts, bind",
            |spec| mount(spec, json!({"options": ["bind"]})),
            "ls -d /mnt/doc",
            Sees("/mnt/doc"),
        ),
        (
            "mounts, ro",
            |spec| mount(spec, json!({"options": ["rbind", "ro"]})),
            "touch /mnt/x",
            Sees("Read-only"),
        ),
        (
            "mounts, rro",
            |spec| mount(spec, json!({"options": ["rbind", "rro"]})),
            "touch /mnt/x",
            Sees("Read-only"),
        ),
        (
            "mounts, nosuid nodev noexec",
            |spec| {
                mount(
                    spec,
                    json!({"options": ["rbind", "nosuid", "nodev", "noexec"]}),
                )
            },
            "grep ' /mnt ' /proc/self/mounts",
            Sees("nosuid,nodev,noexec"),
        ),
        (
            "mounts, private",
            |spec| mount(spec, json!({"options": ["rbind", "rprivate"]})),
            "ls -d /mnt/doc",
            Sees("/mnt/doc"),
        ),
        (
            "mounts, slave",
            |spec| mount(spec, json!({"options": ["rbind", "rslave"]})),
            "ls -d /mnt/doc",
            Sees("/mnt/doc"),
        ),
        (
            "mounts, a file",
            |spec| {
                mount(
                    spec,
                    json!({"source": "/etc/hostname", "destination": "/etc/os-release", "options": ["bind"]}),
                )
            },
            "cat /etc/os-release | wc -l",
            Sees("1"),
        ),
        (
            "mounts, data",
            |spec| {
                mount(
                    spec,
                    json!({"type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]}),
                )
            },
            "grep ' /mnt ' /proc/self/mounts",
            Sees("size=64k"),
        ),
        (
            "mounts, tmpcopyup",
            |spec| {
                mount(
                    spec,
                    json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
                )
            },
            "cat /etc/os-release; touch /etc/x && echo written",
            Sees("NAME=bb\nwritten"),
        ),
        (
            "mounts, without source",
            |spec| {
                push(
                    &mut spec["mounts"],
                    json!({"destination": "/mnt", "type": "tmpfs"}),
                )
            },
            "grep -c ' /mnt ' /proc/self/mounts",
            Sees("1"),
        ),
        (
            "mounts.uidMappings",
            |spec| {
                let mappings = json!([{"containerID": 0, "hostID": 4321, "size": 1}]);
                mount(
                    spec,
                    json!({"options": ["rbind", "ridmap"], "uidMappings": mappings, "gidMappings": mappings}),
                );
            },
            "ls -nd /mnt",
            Sees("4321"),
        ),
        (
            "mounts, bind without source",
            |spec| mount(spec, json!({"source": "", "options": ["bind"]})),
            "",
            Refused("has no source"),
        ),
        (
            "mounts, idmap without mappings",
            |spec| mount(spec, json!({"options": ["bind", "idmap"]})),
            "",
            Refused("no id mappings"),
        ),
    ]
}

fn linux() -> Vec<Row> {
    vec![
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
            "linux.netDevices",
            |spec| spec["linux"]["netDevices"] = json!({"nosuch0": {}}),
            "",
            Refused("network device"),
        ),
    ]
}

/// Runs a row's container, and tells whether what came is what should.
fn check(row: &Row) -> Result<String, String> {
    let (property, change, script, expect) = row;
    let bundle = Bundle::new(&["sh", "-c", &format!("{{ {script}\n}} 2>&1")], |spec| {
        spec["root"]["readonly"] = false.into();
        change(spec);
    });
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    assert_eq!(bundle.left(), Vec::<String>::new(), "{property}");
    match expect {
        Sees(words) if outcome.stdout.replace('\r', "").contains(words) => Ok(format!(
            "| `{property}` | supported | `{}` |",
            script.replace('|', "\\|")
        )),
        Refused(words) | Stops(words) if outcome.code == 1 && outcome.stderr.contains(words) => {
            let message = outcome.stderr.split("msg=").nth(1).unwrap_or_default();
            assert_eq!(
                outcome
                    .stderr
                    .lines()
                    .filter(|line| line.contains("level=error"))
                    .count(),
                1
            );
            assert!(!message.is_empty());
            let kind = if matches!(expect, Refused(_)) {
                "refused"
            } else {
                "supported"
            };
            Ok(format!("| `{property}` | {kind} | error: {words} |"))
        }
        _ => Err(format!("{property}: {outcome:?}")),
    }
}

#[test]
fn every_property_is_kept_or_refused() {
    let results: Vec<_> = rows().iter().map(check).collect();
    let wrong: Vec<&String> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut page = String::from(
        "# The runtime specification, property by property\n\n\
         Generated by `tests/tests/specification.rs`, which makes a container for each line. A property is\n\
         *supported* when the container saw what it should by the command at the right, *refused* when there\n\
         was no container and the error said the words at the right. Some hooks are shown by their failure.\n\n\
         | property | | shown by |\n|---|---|---|\n",
    );
    for line in results.into_iter().flatten() {
        writeln!(page, "{}", line.replace('\n', "; ")).unwrap();
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("docs/specification.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &page).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&file).unwrap_or_default(),
        page,
        "run with UPDATE=1"
    );
}
