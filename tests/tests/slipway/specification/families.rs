//! Properties that differ by a value: each value is one.

use std::path::Path;

use serde_json::{Value, json};

use super::Expect::{Refused, Sees};
use super::{Property, capabilities, mount, push, without};

/// Whether the host has cgroups of version 2 alone.
pub fn has_version_2_alone() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Resources that version 2 has in another way than the old hierarchies.
fn of_the_layout() -> Vec<Property> {
    let is_new = has_version_2_alone();
    let choose = |new: &'static str, old: &'static str| if is_new { new } else { old };
    let shares = property(
        "linux.resources.cpu".to_owned(),
        |spec| spec["linux"]["resources"]["cpu"] = json!({"shares": 512}),
        choose(
            "cat /sys/fs/cgroup/cpu.weight",
            "cat /sys/fs/cgroup/cpu/cpu.shares",
        ),
        choose("59", "512").to_owned(),
    );
    let pages = Property {
        expect: match is_new {
            true => Sees("4194304"),
            false => Refused("hugetlb"),
        },
        ..property(
            "linux.resources.hugepageLimits".to_owned(),
            |spec| {
                let limit = json!({"pageSize": "2MB", "limit": 4_194_304});
                spec["linux"]["resources"]["hugepageLimits"] = json!([limit]);
            },
            choose("cat /sys/fs/cgroup/hugetlb.2MB.max", ""),
            String::new(),
        )
    };
    let unified = Property {
        expect: match is_new {
            true => Sees("999424"),
            false => Refused("version 2 alone"),
        },
        ..property(
            "linux.resources.unified".to_owned(),
            |spec| spec["linux"]["resources"]["unified"] = json!({"memory.high": "1000000"}),
            choose("cat /sys/fs/cgroup/memory.high", ""),
            String::new(),
        )
    };
    vec![shares, pages, unified]
}

fn property(
    name: String,
    request: impl Fn(&mut Value) + 'static,
    script: impl Into<String>,
    sees: String,
) -> Property {
    Property {
        name,
        request: Box::new(request),
        script: script.into(),
        // A test's texts may live as long as the test.
        expect: Sees(sees.leak()),
    }
}

pub fn all() -> impl Iterator<Item = Property> {
    let families = [
        limits(),
        flags(),
        file_systems(),
        propagations(),
        each_capability(),
        namespaces(),
        filters(),
        priorities(),
        sysctls(),
        devices(),
        of_the_layout(),
    ];
    families.into_iter().flatten()
}

/// Each limit: its name, the kernel's words for it, and two values that any host can give.
fn limits() -> Vec<Property> {
    let rows = [
        ("RLIMIT_CPU", "cpu time", 1000, 2000),
        ("RLIMIT_FSIZE", "file size", 1 << 30, 1 << 31),
        ("RLIMIT_DATA", "data size", 1 << 32, 1 << 33),
        ("RLIMIT_STACK", "stack size", 1 << 22, 1 << 23),
        ("RLIMIT_CORE", "core file size", 0, 4096),
        ("RLIMIT_RSS", "resident set", 1 << 30, 1 << 31),
        ("RLIMIT_NPROC", "processes", 5000, 6000),
        ("RLIMIT_NOFILE", "open files", 64, 128),
        ("RLIMIT_MEMLOCK", "locked memory", 32768, 65536),
        ("RLIMIT_AS", "address space", 1 << 33, 1 << 34),
        ("RLIMIT_LOCKS", "file locks", 10, 20),
        ("RLIMIT_SIGPENDING", "pending signals", 100, 200),
        ("RLIMIT_MSGQUEUE", "msgqueue size", 1000, 2000),
        ("RLIMIT_NICE", "nice priority", 0, 0),
        ("RLIMIT_RTPRIO", "realtime priority", 0, 0),
        ("RLIMIT_RTTIME", "realtime timeout", 1_000_000, 2_000_000),
    ];
    let make = |(kind, words, soft, hard): (&'static str, &str, u64, u64)| {
        property(
            format!("process.rlimits, {kind}"),
            move |spec| {
                spec["process"]["rlimits"] = json!([{"type": kind, "soft": soft, "hard": hard}]);
            },
            format!("grep 'Max {words}' /proc/self/limits | tr -s ' '"),
            format!("Max {words} {soft} {hard} "),
        )
    };
    rows.into_iter().map(make).collect()
}

/// Each flag of a bind: the option, and a word that the kernel shows; `!` before one that it does not.
fn flags() -> Vec<Property> {
    let rows = [
        ("ro", "ro"),
        ("rw", "rw"),
        ("suid", "!nosuid"),
        ("nosuid", "nosuid"),
        ("dev", "!nodev"),
        ("nodev", "nodev"),
        ("exec", "!noexec"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("relatime", "relatime"),
        ("strictatime", "!relatime"),
        ("nodiratime", "nodiratime"),
        ("diratime", "!nodiratime"),
        ("symfollow", "!nosymfollow"),
        ("rro", "ro"),
        ("rrw", "rw"),
        ("rsuid", "!nosuid"),
        ("rnosuid", "nosuid"),
        ("rdev", "!nodev"),
        ("rnodev", "nodev"),
        ("rexec", "!noexec"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rrelatime", "relatime"),
        ("rstrictatime", "!relatime"),
        ("rnodiratime", "nodiratime"),
        ("rdiratime", "!nodiratime"),
        ("rsymfollow", "!nosymfollow"),
        ("rnosymfollow", "nosymfollow"),
    ];
    let make = |(option, shown): (&'static str, &str)| {
        let (word, is_there) = match shown.strip_prefix('!') {
            Some(word) => (word, "0"),
            None => (shown, "1"),
        };
        property(
            format!("mounts, the flag {option}"),
            move |spec| mount(spec, json!({"options": ["rbind", option]})),
            format!(
                "grep ' /mnt ' /proc/self/mounts | cut -d' ' -f4 | tr , '\\n' | grep -cx {word}"
            ),
            is_there.to_owned(),
        )
    };
    rows.into_iter().map(make).collect()
}

/// Options of file systems: the kind, the option, and what is shown.
fn file_systems() -> Vec<Property> {
    let rows = [
        ("tmpfs", "size=1m", "size=1024k"),
        ("tmpfs", "nr_inodes=100", "nr_inodes=100"),
        ("tmpfs", "nr_blocks=16", "size=64k"),
        ("tmpfs", "mode=1770", "mode=1770"),
        ("tmpfs", "uid=5", "uid=5"),
        ("tmpfs", "gid=6", "gid=6"),
        ("tmpfs", "noswap", "noswap"),
        ("tmpfs", "sync", "sync"),
        ("tmpfs", "dirsync", "dirsync"),
        ("tmpfs", "lazytime", "lazytime"),
        ("ramfs", "mode=750", "mode=750"),
        ("proc", "hidepid=2", "hidepid=invisible"),
        ("proc", "subset=pid", "subset=pid"),
        ("devpts", "mode=600", "mode=600"),
        ("devpts", "ptmxmode=0666", "ptmxmode=666"),
        ("mqueue", "nosuid", "nosuid"),
        ("sysfs", "ro", "ro"),
    ];
    let make = |(kind, option, shown): (&'static str, &'static str, &str)| {
        property(
            format!("mounts, {kind} with {option}"),
            move |spec| {
                mount(
                    spec,
                    json!({"type": kind, "source": kind, "options": [option]}),
                );
            },
            "grep ' /mnt ' /proc/self/mounts",
            shown.to_owned(),
        )
    };
    rows.into_iter().map(make).collect()
}

/// Each propagation, of a mount and of the root.
fn propagations() -> Vec<Property> {
    let rows = [
        ("private", "0 0"),
        ("rprivate", "0 0"),
        ("slave", "0 0"),
        ("rslave", "0 0"),
        ("shared", "1 0"),
        ("rshared", "1 0"),
        ("unbindable", "0 1"),
        ("runbindable", "0 1"),
    ];
    let script = |place: &str| {
        format!(
            "l=$(grep ' {place} ' /proc/self/mountinfo | head -n 1); \
             echo $(echo \"$l\" | grep -c shared:) $(echo \"$l\" | grep -c unbindable)"
        )
    };
    let of_mount = rows.map(|(option, shown)| {
        property(
            format!("mounts, the propagation {option}"),
            move |spec| mount(spec, json!({"options": ["rbind", option]})),
            script("/mnt"),
            shown.to_owned(),
        )
    });
    let of_root = rows.map(|(option, shown)| {
        property(
            format!("linux.rootfsPropagation, {option}"),
            move |spec| spec["linux"]["rootfsPropagation"] = json!(option),
            script("/"),
            shown.to_owned(),
        )
    });
    of_mount.into_iter().chain(of_root).collect()
}

/// Each capability that root has on every host, by its number (capability.h).
fn each_capability() -> Vec<Property> {
    let names = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
    ];
    let make = |(number, name): (usize, &str)| {
        let word = format!("CAP_{name}");
        let wanted = word.clone();
        property(
            format!("process.capabilities, {word}"),
            move |spec| capabilities(spec, &["bounding", "effective", "permitted"], &[&wanted]),
            "grep CapEff /proc/self/status",
            format!("{:016x}", 1_u64 << number),
        )
    };
    names.into_iter().enumerate().map(make).collect()
}

/// Each namespace, of the container's own and the host's.
fn namespaces() -> Vec<Property> {
    let kinds = [
        ("cgroup", "cgroup"),
        ("ipc", "ipc"),
        ("network", "net"),
        ("pid", "pid"),
        ("uts", "uts"),
        ("time", "time"),
    ];
    let both = kinds
        .into_iter()
        .flat_map(|kind| [(kind, true), (kind, false)]);
    let make = |((kind, file), is_own): ((&'static str, &str), bool)| {
        property(
            match is_own {
                true => format!("linux.namespaces, one of {kind}"),
                false => format!("linux.namespaces, none of {kind}"),
            },
            move |spec| {
                without(spec, kind);
                // The new mounts of these two need the namespace.
                let mounts = spec["mounts"].as_array_mut().unwrap();
                mounts.retain(|mount| mount["type"] != "mqueue" || kind != "ipc");
                if kind == "uts" {
                    spec["hostname"] = Value::Null;
                }
                if is_own {
                    push(&mut spec["linux"]["namespaces"], json!({"type": kind}));
                }
            },
            format!(
                "readlink /proc/self/ns/{file} | grep -qxFf /host-namespaces && echo host || echo own"
            ),
            if is_own { "own" } else { "host" }.to_owned(),
        )
    };
    both.map(make).collect()
}

/// Filters: each comparison of an argument, that holds and that does not, each action and each flag.
fn filters() -> Vec<Property> {
    let kill = "kill -18 $$ 2>/dev/null && echo sent || echo filtered";
    let value = |value: u64| json!({"value": value});
    let masked = |mask: u64, value: u64| json!({"value": mask, "valueTwo": value});
    // The signal is SIGCONT, 18.
    let comparisons = [
        ("SCMP_CMP_EQ", value(18), value(17)),
        ("SCMP_CMP_NE", value(17), value(18)),
        ("SCMP_CMP_GT", value(17), value(18)),
        ("SCMP_CMP_GE", value(18), value(19)),
        ("SCMP_CMP_LT", value(19), value(18)),
        ("SCMP_CMP_LE", value(18), value(17)),
        ("SCMP_CMP_MASKED_EQ", masked(18, 18), masked(18, 2)),
    ];
    let compared = comparisons.into_iter().flat_map(|(op, holds, fails)| {
        [(op, holds, true), (op, fails, false)].map(|(op, compared, holds)| {
            let is = if holds { "holds" } else { "does not hold" };
            property(
                format!("linux.seccomp, {op} that {is}"),
                move |spec| {
                    let mut arg = json!({"index": 1, "op": op});
                    for (key, value) in compared.as_object().unwrap() {
                        arg[key] = value.clone();
                    }
                    let call =
                        json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [arg]});
                    spec["linux"]["seccomp"] =
                        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [call]});
                },
                kill,
                if holds { "filtered" } else { "sent" }.to_owned(),
            )
        })
    });
    let actions = [
        ("SCMP_ACT_ERRNO", "1"),
        ("SCMP_ACT_KILL", "159"),
        ("SCMP_ACT_KILL_THREAD", "159"),
        ("SCMP_ACT_KILL_PROCESS", "159"),
        ("SCMP_ACT_TRAP", "159"),
        ("SCMP_ACT_TRACE", "1"),
        ("SCMP_ACT_LOG", "0"),
        ("SCMP_ACT_ALLOW", "0"),
    ];
    let acted = actions.map(|(action, shown)| {
        property(
            format!("linux.seccomp, {action}"),
            move |spec| {
                let call = json!({"names": ["mkdir", "mkdirat"], "action": action});
                spec["linux"]["seccomp"] =
                    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [call]});
            },
            "busybox mkdir /dev/shm/x 2>/dev/null; echo $?",
            shown.to_owned(),
        )
    });
    let flags = [
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_TSYNC",
    ];
    let flagged = flags.map(|flag| {
        property(
            format!("linux.seccomp.flags, {flag}"),
            move |spec| {
                let call = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
                spec["linux"]["seccomp"] =
                    json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag], "syscalls": [call]});
            },
            "mkdir /dev/shm/x 2>/dev/null; echo $?",
            "1".to_owned(),
        )
    });
    compared.chain(acted).chain(flagged).collect()
}

fn priorities() -> Vec<Property> {
    let classes = [
        ("IOPRIO_CLASS_BE", 0, "best-effort: prio 0"),
        ("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"),
        ("IOPRIO_CLASS_RT", 1, "realtime: prio 1"),
    ];
    let of_io = classes.map(|(class, priority, shown)| {
        property(
            format!("process.ioPriority, {class} {priority}"),
            move |spec| {
                spec["process"]["ioPriority"] = json!({"class": class, "priority": priority});
            },
            "ionice -p $$",
            shown.to_owned(),
        )
    });
    let policies = [
        ("SCHED_OTHER", "0"),
        ("SCHED_BATCH", "3"),
        ("SCHED_IDLE", "5"),
    ];
    let of_processor = policies.map(|(policy, number)| {
        property(
            format!("process.scheduler, {policy}"),
            move |spec| spec["process"]["scheduler"] = json!({"policy": policy}),
            "grep ^policy /proc/$$/sched | tr -s ' '",
            format!(": {number}"),
        )
    });
    of_io.into_iter().chain(of_processor).collect()
}

fn sysctls() -> Vec<Property> {
    let rows = [
        ("kernel.shmmax", "1000000", "kernel/shmmax"),
        ("kernel.shmall", "20000", "kernel/shmall"),
        ("kernel.msgmax", "4096", "kernel/msgmax"),
        ("kernel.msgmnb", "8192", "kernel/msgmnb"),
        ("kernel.msgmni", "100", "kernel/msgmni"),
        ("fs.mqueue.msg_max", "5", "fs/mqueue/msg_max"),
        ("net.ipv4.ip_forward", "1", "net/ipv4/ip_forward"),
        (
            "net.ipv4.ip_unprivileged_port_start",
            "80",
            "net/ipv4/ip_unprivileged_port_start",
        ),
        ("net/ipv4/ip_default_ttl", "33", "net/ipv4/ip_default_ttl"),
    ];
    let make = |(name, value, file): (&'static str, &'static str, &str)| {
        property(
            format!("linux.sysctl, {name}"),
            move |spec| spec["linux"]["sysctl"] = json!({name: value}),
            format!("cat /proc/sys/{file}"),
            value.to_owned(),
        )
    };
    rows.into_iter().map(make).collect()
}

/// The devices and links that each container has, and each kind of those that are asked for.
fn devices() -> Vec<Property> {
    let defaults = [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ];
    let there = defaults.map(|(name, number)| {
        property(
            format!("/dev/{name}"),
            |_| (),
            format!("stat -c '%t:%T %a' /dev/{name}"),
            format!("{number} 666"),
        )
    });
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    let linked = links.map(|(name, target)| {
        property(
            format!("/dev/{name}, a link"),
            |_| (),
            format!("readlink /dev/{name}"),
            target.to_owned(),
        )
    });
    let kinds = [
        ("c", "character special file a:c8 640 5 6"),
        ("u", "character special file a:c8 640 5 6"),
        ("b", "block special file a:c8 640 5 6"),
        ("p", "fifo 0:0 640 5 6"),
    ];
    let wanted = kinds.map(|(kind, shown)| {
        property(
            format!("linux.devices, type {kind}"),
            move |spec| {
let mut device = json!({"path": "/dev/mine", "type": kind, "fileMode": 0o640, "uid": 5, "gid": 6});
                // runc refuses a FIFO with numbers.
                if kind != "p" {
                    device["major"] = json!(10);
                    device["minor"] = json!(200);
                }
                spec["linux"]["devices"] = json!([device]);
            },
            "stat -c '%F %t:%T %a %u %g' /dev/mine",
            shown.to_owned(),
        )
    });
    there.into_iter().chain(linked).chain(wanted).collect()
}
