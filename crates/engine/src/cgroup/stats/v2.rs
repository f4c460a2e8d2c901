//! Reads the statistics of the unified hierarchy (cgroup-v2.rst). libcgroups' own reader fails
//! completely when one file is missing. On many kernels the pressure files are.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use libcgroups::stats::{
    BlkioDeviceStat, CpuThrottling, CpuUsage, HugeTlbStats, MemoryData, PSIData, PSIStats,
    PidStats, Stats,
};

use crate::Error;
use crate::cgroup::MOUNTED;

/// The text that means no limit.
const UNLIMITED: &str = "max";

/// Reads the statistics of a cgroup: times in nanoseconds, sizes in bytes.
pub(super) fn stats(path: &Path) -> Result<Stats, Error> {
    let directory = Path::new(MOUNTED).join(path.strip_prefix("/").unwrap_or(path));
    let files = Files(directory);
    let mut stats = Stats::default();
    let cpu = files.keyed("cpu.stat")?;
    let nanoseconds = |name: &str| cpu.get(name).unwrap_or(&0).saturating_mul(1000);
    stats.cpu.usage = CpuUsage {
        usage_total: nanoseconds("usage_usec"),
        usage_user: nanoseconds("user_usec"),
        usage_kernel: nanoseconds("system_usec"),
        ..CpuUsage::default()
    };
    stats.cpu.throttling = CpuThrottling {
        periods: *cpu.get("nr_periods").unwrap_or(&0),
        throttled_periods: *cpu.get("nr_throttled").unwrap_or(&0),
        throttled_time: nanoseconds("throttled_usec"),
    };
    stats.cpu.psi = files.pressure("cpu.pressure");
    stats.memory.stats = files.keyed("memory.stat").unwrap_or_default();
    stats.memory.cache = *stats.memory.stats.get("file").unwrap_or(&0);
    stats.memory.memory = files.amount("memory");
    stats.memory.memory.fail_count = *files
        .keyed("memory.events")
        .unwrap_or_default()
        .get("max")
        .unwrap_or(&0);
    // runc's swap is the sum of memory and swap, as in the old hierarchy.
    let swap = files.amount("memory.swap");
    stats.memory.memswap = MemoryData {
        usage: stats.memory.memory.usage.saturating_add(swap.usage),
        limit: stats.memory.memory.limit.saturating_add(swap.limit),
        ..swap
    };
    stats.memory.psi = files.pressure("memory.pressure");
    stats.pids = PidStats {
        current: files.number("pids.current"),
        limit: Some(files.number("pids.max"))
            .filter(|limit| *limit != u64::MAX)
            .unwrap_or(0),
    };
    (stats.blkio.service_bytes, stats.blkio.serviced) = devices(&files.text("io.stat"));
    stats.blkio.psi = files.pressure("io.pressure");
    stats.hugetlb = files.huge_pages();
    Ok(stats)
}

struct Files(PathBuf);

impl Files {
    /// Returns a file's text, which is empty for a controller that is not enabled.
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u64 {
        number(self.text(name).trim())
    }

    /// Reads lines of the form `NAME NUMBER`.
    fn keyed(&self, name: &str) -> Result<HashMap<String, u64>, Error> {
        let path = self.0.join(name);
        let text = fs::read_to_string(&path).map_err(Error::state("read", path))?;
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs
            .map(|(name, value)| (name.to_owned(), number(value)))
            .collect())
    }

    fn amount(&self, prefix: &str) -> MemoryData {
        MemoryData {
            usage: self.number(&format!("{prefix}.current")),
            max_usage: self.number(&format!("{prefix}.peak")),
            fail_count: 0,
            limit: self.number(&format!("{prefix}.max")),
        }
    }

    /// Reads `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
    fn pressure(&self, name: &str) -> PSIStats {
        let text = self.text(name);
        let data = |kind: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(kind));
            let value = |name: &str| {
                line.unwrap_or_default()
                    .split_whitespace()
                    .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                    .and_then(|value| value.parse().ok())
                    .unwrap_or_default()
            };
            PSIData {
                avg10: value("avg10"),
                avg60: value("avg60"),
                avg300: value("avg300"),
            }
        };
        PSIStats {
            some: data("some"),
            full: data("full"),
        }
    }

    fn huge_pages(&self) -> HashMap<String, HugeTlbStats> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let sizes = names.filter_map(|name| {
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(".current")?;
            Some(size.to_owned())
        });
        sizes
            .map(|size| {
                let events = self.keyed(&format!("hugetlb.{size}.events"));
                let stats = HugeTlbStats {
                    usage: self.number(&format!("hugetlb.{size}.current")),
                    max_usage: 0,
                    fail_count: *events.unwrap_or_default().get("max").unwrap_or(&0),
                };
                (size, stats)
            })
            .collect()
    }
}

fn number(text: &str) -> u64 {
    if text == UNLIMITED {
        return u64::MAX;
    }
    text.parse().unwrap_or(0)
}

/// Reads the bytes and operations by device: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`.
fn devices(text: &str) -> (Vec<BlkioDeviceStat>, Vec<BlkioDeviceStat>) {
    let mut bytes = Vec::new();
    let mut operations = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|word| word.split_once(':'));
        let Some((major, minor)) = device else {
            continue;
        };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, kind) = match name {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                _ => continue,
            };
            list.push(BlkioDeviceStat {
                major: number(major),
                minor: number(minor),
                op_type: Some(kind.to_owned()),
                value: number(value),
            });
        }
    }
    (bytes, operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("memory.current", "4096\n");
        write("memory.max", "max\n");
        write("memory.stat", "anon 1\nfile 2\n");
        write(
            "cpu.pressure",
            "some avg10=1.50 avg60=0.25 avg300=0.00 total=9\n",
        );
        let files = Files(directory.path().to_owned());
        let memory = files.amount("memory");
        assert_eq!(
            (memory.usage, memory.limit, memory.max_usage),
            (4096, u64::MAX, 0)
        );
        assert_eq!(files.keyed("memory.stat").unwrap()["file"], 2);
        assert!((files.pressure("cpu.pressure").some.avg10 - 1.5).abs() < 1e-9);
        assert!(files.keyed("cpu.stat").is_err());
    }

    #[test]
    fn devices_are_counted_by_kind() {
        let (bytes, operations) = devices("8:16 rbytes=5 wbytes=6 rios=7 wios=8 dbytes=9\nbad\n");
        assert_eq!((bytes.len(), operations.len()), (2, 2));
        assert_eq!((bytes[0].major, bytes[0].minor, bytes[0].value), (8, 16, 5));
        assert_eq!(operations[1].op_type.as_deref(), Some("Write"));
    }
}
