//! A container's use of resources, in the form that runc prints.

mod v2;

use libcgroups::common::CgroupManager;
use libcgroups::stats::{BlkioDeviceStat, MemoryData, PSIData, PSIStats, Stats};
use serde_json::{Map, Value, json};

use super::{Cgroup, is_unified};
use crate::Error;

impl Cgroup {
    /// Returns the statistics of the cgroup: times in nanoseconds, sizes in bytes.
    pub(crate) fn stats(&self) -> Result<Value, Error> {
        if is_unified() {
            return Ok(shape(&v2::stats(&self.path)?));
        }
        let mut stats = self
            .manager()?
            .stats()
            .map_err(|error| Error::library("read the container's statistics", &error))?;
        // libcgroups returns the ticks (USER_HZ, 100 per second) of cpuacct.stat.
        stats.cpu.usage.usage_kernel *= 10_000_000;
        stats.cpu.usage.usage_user *= 10_000_000;
        Ok(shape(&stats))
    }
}

fn shape(stats: &Stats) -> Value {
    let usage = &stats.cpu.usage;
    let throttling = &stats.cpu.throttling;
    let memory = &stats.memory;
    let hugetlb: Map<String, Value> = stats
        .hugetlb
        .iter()
        .map(|(size, one)| {
            let value =
                json!({"usage": one.usage, "max": one.max_usage, "failcnt": one.fail_count});
            (size.clone(), value)
        })
        .collect();
    let mut pids = json!({"current": stats.pids.current});
    if stats.pids.limit > 0 {
        pids["limit"] = json!(stats.pids.limit);
    }
    json!({
        "cpu": {
            "usage": {
                "total": usage.usage_total,
                "percpu": usage.per_core_usage_total,
                "kernel": usage.usage_kernel,
                "user": usage.usage_user,
            },
            "throttling": {
                "periods": throttling.periods,
                "throttledPeriods": throttling.throttled_periods,
                "throttledTime": throttling.throttled_time,
            },
            "psi": pressure(&stats.cpu.psi),
        },
        "cpuset": {},
        "memory": {
            "cache": memory.cache,
            "usage": amount(&memory.memory),
            "swap": amount(&memory.memswap),
            "kernel": amount(&memory.kernel),
            "kernelTCP": amount(&memory.kernel_tcp),
            "raw": memory.stats,
            "psi": pressure(&memory.psi),
        },
        "pids": pids,
        "blkio": {
            "ioServiceBytesRecursive": devices(&stats.blkio.service_bytes),
            "ioServicedRecursive": devices(&stats.blkio.serviced),
            "ioQueueRecursive": devices(&stats.blkio.queued),
            "ioServiceTimeRecursive": devices(&stats.blkio.service_time),
            "ioWaitTimeRecursive": devices(&stats.blkio.wait_time),
            "ioMergedRecursive": devices(&stats.blkio.merged),
            "ioTimeRecursive": devices(&stats.blkio.time),
            "sectorsRecursive": devices(&stats.blkio.sectors),
            "psi": pressure(&stats.blkio.psi),
        },
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

fn amount(data: &MemoryData) -> Value {
    json!({
        "limit": data.limit,
        "usage": data.usage,
        "max": data.max_usage,
        "failcnt": data.fail_count,
    })
}

fn devices(list: &[BlkioDeviceStat]) -> Value {
    list.iter()
        .map(|one| {
            json!({"major": one.major, "minor": one.minor, "op": one.op_type, "value": one.value})
        })
        .collect()
}

fn pressure(psi: &PSIStats) -> Value {
    let data =
        |one: &PSIData| json!({"avg10": one.avg10, "avg60": one.avg60, "avg300": one.avg300});
    json!({"some": data(&psi.some), "full": data(&psi.full)})
}
