//! The CPUs that a process may run on.

use std::fs;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::say;

/// The variable that Slurm sets in a step. It binds the step's tasks to CPUs, and they keep them.
const STEP: &str = "SLURM_STEP_ID";

/// Binds the calling process to a list of CPUs, as in cpuset(7).
pub(crate) fn set(cpus: &str) -> Result<(), String> {
    libcontainer::process::cpu_affinity::set_cpuset_affinity_from_string(Pid::this(), cpus)
        .map_err(say("process.execCPUAffinity"))
}

/// Returns the CPUs of the calling process as a hexadecimal number, the first CPU in the last bit
/// (proc_pid_status(5), "Cpus_allowed").
pub(crate) fn mask() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let groups = lines.find_map(|line| line.strip_prefix("Cpus_allowed:"));
    let digits = groups.unwrap_or_default().trim().replace(',', "");
    format!("0x{}", digits.trim_start_matches('0'))
}

/// Lets a process run on all CPUs of its cgroup, whatever the runtime's caller is bound to, as runc
/// does. Otherwise the CPUs of a service manager would be those of its containers.
pub(crate) fn reset(process: Pid) {
    if std::env::var_os(STEP).is_some() {
        return;
    }
    let mut all = CpuSet::new();
    for cpu in 0..CpuSet::count() {
        let _ = all.set(cpu);
    }
    // The kernel takes those that the cgroup has, cpuset(7). A process that may not be bound stays.
    let _ = sched_setaffinity(process, &all);
}
