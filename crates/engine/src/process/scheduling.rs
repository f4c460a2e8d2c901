//! How the kernel runs a process: `process.scheduler` and `process.ioPriority` of the
//! specification.

use libcontainer::oci_spec::runtime::Process;
use libcontainer::syscall::syscall::SyscallType;
use serde_json::Value;
use sys::Scheduling;

/// The policies, sched(7).
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

/// The flags, sched_setattr(2).
const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// The policies of real time.
const REAL_TIME: [u32; 2] = [1, 2];

/// The policy of deadlines.
const DEADLINE: u32 = 6;

/// Refuses a scheduler that contradicts itself, as runc does.
pub(crate) fn check(scheduler: &Value) -> Result<(), String> {
    parse(scheduler).map(drop)
}

fn parse(scheduler: &Value) -> Result<Option<Scheduling>, String> {
    if scheduler.is_null() {
        return Ok(None);
    }
    let wrong = |reason: String| format!("process.scheduler: {reason}");
    let policy = scheduler["policy"].as_str().unwrap_or_default();
    let known = POLICIES.iter().find(|(name, _)| *name == policy);
    let (_, number) = known.ok_or_else(|| wrong(format!("there is no policy {policy:?}")))?;
    let mut flags = 0;
    for flag in scheduler["flags"].as_array().into_iter().flatten() {
        let known = FLAGS.iter().find(|(name, _)| flag == name);
        let (_, bit) = known.ok_or_else(|| wrong(format!("there is no flag {flag}")))?;
        flags |= bit;
    }
    let number_of = |name: &str| scheduler[name].as_u64().unwrap_or(0);
    let small =
        |name: &str| i32::try_from(scheduler[name].as_i64().unwrap_or(0)).unwrap_or(i32::MAX);
    let scheduling = Scheduling {
        policy: *number,
        flags,
        nice: small("nice"),
        priority: small("priority").cast_unsigned(),
        runtime: number_of("runtime"),
        deadline: number_of("deadline"),
        period: number_of("period"),
    };
    if !(-20..=19).contains(&scheduling.nice) {
        return Err(wrong(format!(
            "nice is {}, not between -20 and 19",
            scheduling.nice
        )));
    }
    if scheduling.priority != 0 && !REAL_TIME.contains(number) {
        return Err(wrong(
            "priority is for SCHED_FIFO and SCHED_RR only".to_owned(),
        ));
    }
    let deadlines = [scheduling.runtime, scheduling.deadline, scheduling.period];
    if *number != DEADLINE && deadlines.iter().any(|time| *time != 0) {
        return Err(wrong(
            "runtime, deadline and period are for SCHED_DEADLINE only".to_owned(),
        ));
    }
    if *number == DEADLINE {
        check_deadline(deadlines, !scheduler["runtime"].is_null()).map_err(|reason| {
            // The name of the call comes first, as in crun's words.
            wrong(format!("sched_setattr: `SCHED_DEADLINE` {reason}"))
        })?;
    }
    Ok(Some(scheduling))
}

/// The least and the greatest runtime that the kernel takes, in nanoseconds: `DL_SCALE` and the
/// 63 bits of `__checkparam_dl`, sched/deadline.c.
const RUNTIMES: std::ops::RangeInclusive<u64> = 1024..=i64::MAX as u64;

/// Checks the runtime, the deadline and the period of SCHED_DEADLINE, sched(7). `is_given` says
/// whether a runtime is given at all.
fn check_deadline([runtime, deadline, period]: [u64; 3], is_given: bool) -> Result<(), String> {
    if runtime == 0 {
        return Err(match is_given {
            true => "runtime must be greater than 0".to_owned(),
            false => "requires `runtime`".to_owned(),
        });
    }
    if deadline == 0 {
        return Err("requires `deadline`".to_owned());
    }
    if !RUNTIMES.contains(&runtime) {
        let (least, greatest) = (RUNTIMES.start(), RUNTIMES.end());
        return Err(format!(
            "runtime {runtime} must be between {least} and {greatest}"
        ));
    }
    if runtime > deadline {
        return Err(format!("runtime {runtime} must be <= deadline {deadline}"));
    }
    if period != 0 && deadline > period {
        return Err(format!("deadline {deadline} must be <= period {period}"));
    }
    Ok(())
}

/// Sets the scheduler of the calling process.
pub(crate) fn set(scheduler: &Value) -> Result<(), String> {
    match parse(scheduler)? {
        Some(scheduling) => sys::set_scheduling(scheduling)
            .map_err(|error| format!("process.scheduler: {}", text::message(&error))),
        None => Ok(()),
    }
}

/// Sets the priority of the calling process's input and output, ioprio_set(2).
pub(crate) fn set_io_priority(process: &Process) -> Result<(), String> {
    let Some(priority) = process.io_priority() else {
        return Ok(());
    };
    let class = match priority.class().to_string().as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_IDLE" => 3,
        _ => 2,
    };
    SyscallType::default()
        .create_syscall()
        .set_io_priority(class, priority.priority())
        .map_err(|error| format!("process.ioPriority: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_scheduler_that_contradicts_itself_is_refused() {
        let rows = [
            (json!(null), ""),
            (json!({"policy": "SCHED_BATCH", "nice": 5}), ""),
            (
                json!({"policy": "SCHED_FIFO", "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
                "",
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 3000, "period": 4000}),
                "",
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2}),
                "runtime 1 must be between 1024",
            ),
            (json!({"policy": "SCHED_DEADLINE"}), "requires `runtime`"),
            (json!({"policy": "SCHED_X"}), "no policy"),
            (json!({"policy": "SCHED_OTHER", "flags": ["X"]}), "no flag"),
            (
                json!({"policy": "SCHED_OTHER", "priority": 3}),
                "priority is for",
            ),
            (json!({"policy": "SCHED_OTHER", "nice": 20}), "nice is 20"),
            (
                json!({"policy": "SCHED_RR", "runtime": 3}),
                "SCHED_DEADLINE only",
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 3000, "deadline": 2000}),
                "runtime 3000 must be <= deadline 2000",
            ),
        ];
        for (scheduler, reason) in rows {
            match check(&scheduler) {
                Ok(()) => assert_eq!(reason, "", "{scheduler}"),
                Err(error) => assert!(!reason.is_empty() && error.contains(reason), "{error}"),
            }
        }
    }
}
