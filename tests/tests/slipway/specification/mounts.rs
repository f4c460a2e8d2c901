//! Mounts.

use serde_json::json;

use super::Expect::{Refused, Sees};
use super::{Row, mount, push};

pub const ROWS: &[Row] = &[
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
        "mounts, tmpfs with the mode of what it covers",
        |spec| {
            mount(
                spec,
                json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs"}),
            );
        },
        "stat -c %a /etc",
        Sees("755"),
    ),
    (
        "mounts, tmpfs with a mode",
        |spec| {
            mount(
                spec,
                json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k,mode=700"]}),
            );
        },
        "stat -c %a /etc",
        Sees("700"),
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
];
