//! `front instance stats NAME`: what an instance's processes use, from `/proc`. No cgroup is needed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use session::{Instance, Running};
use sys::ExitCode;

use crate::cli::InstanceStats;
use crate::json;
use crate::table::table;

/// Time between two measurements.
const INTERVAL: Duration = Duration::from_secs(1);

/// The use of resources by the processes of a pid namespace.
#[derive(Debug, Clone, Default, PartialEq)]
struct Usage {
    /// Processor time of each process in clock ticks, by its number and start time.
    ticks: BTreeMap<(u32, u64), u64>,
    /// Memory in bytes: each process's own, and its share of what is shared (PSS).
    memory: u64,
    /// Bytes that were read from storage, and written to it.
    storage: (u64, u64),
    processes: usize,
}

/// Prints the use of resources of an instance, once or until the instance ends.
///
/// # Errors
///
/// Fails when there is no such instance.
pub fn run(args: &InstanceStats) -> Result<ExitCode> {
    let name = &args.name;
    let mut running = Instance::find(name)?;
    if running.is_none() {
        bail!("no instance found with name {name}");
    }
    let total = total_memory();
    while let Some(instance) = running {
        let (before, since) = (Usage::of(&instance), Instant::now());
        std::thread::sleep(INTERVAL);
        let now = Usage::of(&instance);
        if instance.pid().is_some() {
            let cpu = now.cpu_since(&before, since.elapsed());
            let limit = instance.pid().and_then(memory_limit).unwrap_or(total);
            let text = now.text(name, cpu, limit.min(total), args.json)?;
            let printed = std::io::stdout().lock().write_all(text.as_bytes());
            if printed.is_err() || args.no_stream {
                break;
            }
        }
        running = Instance::find(name)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Usage {
    /// Measures the processes of an instance.
    fn of(instance: &Running) -> Self {
        let first = instance.pid().and_then(|pid| u32::try_from(pid).ok());
        instance
            .pid_namespace()
            .map(|namespace| Self::of_namespace(&namespace, first))
            .unwrap_or_default()
    }

    /// Measures the processes of a pid namespace. The namespace of the first process, which is ours,
    /// is not shown.
    fn of_namespace(namespace: &Path, first: Option<u32>) -> Self {
        let mut usage = Self::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(number) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let own = fs::read_link(format!("/proc/{number}/ns/pid"));
            if Some(number) == first || own.is_ok_and(|own| own == namespace) {
                usage.add(number);
            }
        }
        usage
    }

    fn add(&mut self, process: u32) {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}"));
        let Ok(stat) = read("stat") else { return };
        // The name may contain blanks and brackets, proc_pid_stat(5).
        let fields = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest)
            .unwrap_or_default();
        let fields: Vec<u64> = fields
            .split_whitespace()
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        let ticks = field(14) + field(15);
        self.ticks.insert((process, field(22)), ticks);
        self.processes += 1;
        let memory = read("smaps_rollup").unwrap_or_default();
        self.memory += value(&memory, "Pss:") * 1024;
        let storage = read("io").unwrap_or_default();
        self.storage.0 += value(&storage, "read_bytes:");
        self.storage.1 += value(&storage, "write_bytes:");
    }

    /// Returns the percentage of one processor that was used since an earlier measurement.
    #[allow(clippy::cast_precision_loss, reason = "a percentage needs no more")]
    fn cpu_since(&self, before: &Self, elapsed: Duration) -> f64 {
        let earlier = |process| before.ticks.get(process).copied().unwrap_or_default();
        let used = self
            .ticks
            .iter()
            .map(|(process, ticks)| ticks.saturating_sub(earlier(process)));
        let used: u64 = used.sum();
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        used as f64 / per_second / elapsed.as_secs_f64() * 100.0
    }

    #[allow(clippy::cast_precision_loss, reason = "a percentage needs no more")]
    fn text(&self, name: &str, cpu: f64, limit: u64, as_json: bool) -> Result<String> {
        let share = self.memory as f64 / limit.max(1) as f64 * 100.0;
        if as_json {
            let document: Value = json!({
                "instance": name,
                "cpu_percent": cpu,
                "memory_bytes": self.memory,
                "memory_limit_bytes": limit,
                "block_read_bytes": self.storage.0,
                "block_write_bytes": self.storage.1,
                "pids": self.processes,
            });
            return json::tabbed(&document);
        }
        let head = [
            "INSTANCE NAME",
            "CPU USAGE",
            "MEM USAGE / LIMIT",
            "MEM %",
            "BLOCK I/O",
            "PIDS",
        ];
        let row = [
            name.to_owned(),
            format!("{cpu:.2}%"),
            format!("{} / {}", size(self.memory), size(limit)),
            format!("{share:.2}%"),
            format!("{} / {}", size(self.storage.0), size(self.storage.1)),
            self.processes.to_string(),
        ];
        Ok(table([head.map(str::to_owned), row]))
    }
}

/// Returns the number behind a name in a file of `/proc`.
fn value(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let number = lines.next().and_then(|rest| rest.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

/// Returns the machine's memory in bytes.
fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    value(&text, "MemTotal:") * 1024
}

/// Returns the lowest limit of memory, in bytes, of the cgroups of version 2 that a process is in
/// (`memory.max`, Documentation/admin-guide/cgroup-v2.rst). There is none on hosts without this
/// hierarchy.
fn memory_limit(process: i32) -> Option<u64> {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limits = Path::new(own).ancestors().filter_map(|group| {
        let file = Path::new("/sys/fs/cgroup").join(group).join("memory.max");
        fs::read_to_string(file).ok()?.trim().parse().ok()
    });
    limits.min()
}

/// Writes a number of bytes with a unit of a power of 1024.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn size(bytes: u64) -> String {
    match text::scaled(bytes as f64, &["B", "KiB", "MiB", "GiB", "TiB"]) {
        (_, "B") => format!("{bytes}B"),
        (value, unit) => format!("{value:.3}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_written() {
        assert_eq!(value("Rss:  5 kB\nPss:   12 kB\n", "Pss:"), 12);
        assert_eq!(value("", "Pss:"), 0);
        assert_eq!(size(512), "512B");
        assert_eq!(size(3 << 20), "3.000MiB");
        let before = Usage {
            ticks: [((1, 5), 100)].into(),
            ..Usage::default()
        };
        let now = Usage {
            ticks: [((1, 5), 150), ((2, 9), 10)].into(),
            ..Usage::default()
        };
        let percent = now.cpu_since(&before, Duration::from_secs(1));
        let ticks = rustix::param::clock_ticks_per_second();
        assert!((percent - 6000.0 / ticks as f64).abs() < 0.01);
    }

    #[test]
    fn the_own_pid_namespace_has_processes() {
        let own = fs::read_link("/proc/self/ns/pid").unwrap();
        let usage = Usage::of_namespace(&own, None);
        assert!(usage.processes > 0 && usage.memory > 0, "{usage:?}");
    }
}
