//! Limits, and other things that depend on the host.

use serde_json::json;

use super::Expect::{Refused, Sees};
use super::Row;

pub const ROWS: &[Row] = &[
    (
        "linux.resources.cpu.quota",
        |spec| spec["linux"]["resources"]["cpu"] = json!({"quota": 20000, "period": 50000}),
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null",
        Sees("20000"),
    ),
    (
        "linux.resources.cpu.cpus",
        |spec| spec["linux"]["resources"]["cpu"] = json!({"cpus": "0"}),
        "grep Cpus_allowed_list /proc/self/status",
        Sees("Cpus_allowed_list:\t0"),
    ),
    (
        "linux.resources.blockIO",
        |spec| {
            spec["linux"]["resources"]["blockIO"] =
                json!({"throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1048576}]});
        },
        "cat /sys/fs/cgroup/blkio/blkio.throttle.read_bps_device /sys/fs/cgroup/io.max 2>/dev/null",
        Sees("1048576"),
    ),
    (
        "linux.resources.network",
        |spec| spec["linux"]["resources"]["network"] = json!({"classID": 1048577}),
        "",
        Refused("net"),
    ),
    (
        "linux.resources.rdma",
        |spec| spec["linux"]["resources"]["rdma"] = json!({"mlx5_1": {"hcaHandles": 3}}),
        "",
        Refused("rdma is not supported"),
    ),
    (
        "linux.intelRdt",
        |spec| spec["linux"]["intelRdt"] = json!({"closID": "a", "l3CacheSchema": "L3:0=f"}),
        "",
        Refused("resctrl"),
    ),
    (
        "linux.memoryPolicy",
        |spec| spec["linux"]["memoryPolicy"] = json!({"mode": "MPOL_PREFERRED", "nodes": "0"}),
        "cat /proc/self/numa_maps | head -n 1 | cut -d ' ' -f 2",
        Sees("prefer:0"),
    ),
    (
        "linux.personality",
        |spec| spec["linux"]["personality"] = json!({"domain": "LINUX32"}),
        "uname -m",
        Sees("i686"),
    ),
    (
        "linux.mountLabel",
        |spec| spec["linux"]["mountLabel"] = json!("a_t"),
        "",
        Refused("this host has no SELinux"),
    ),
    (
        "process.apparmorProfile",
        |spec| spec["process"]["apparmorProfile"] = json!("a"),
        "",
        Refused("apparmor"),
    ),
    (
        "process.execCPUAffinity",
        |spec| spec["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"}),
        "echo for exec",
        Sees("for exec"),
    ),
    (
        "process.user.additionalGids",
        |spec| spec["process"]["user"]["additionalGids"] = json!([7, 8]),
        "id -G",
        Sees("0 7 8"),
    ),
];
