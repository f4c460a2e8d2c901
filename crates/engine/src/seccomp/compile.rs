//! Compiling a profile into the kernel's program.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::str::FromStr;

use libcontainer::oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSyscall,
};
use libseccomp::error::SeccompError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use rustix::fs::{MemfdFlags, memfd_create};

use super::newer;

/// A binary search over the calls, so that a call costs the same wherever the profile names it
/// (libseccomp 2.5).
const BY_HALVES: u32 = 2;

/// Compiles a profile into a list of `struct sock_filter`.
pub(super) fn compile(seccomp: &LinuxSeccomp) -> Result<Vec<u64>, String> {
    refuse_deadlock(seccomp)?;
    let failed = |error: SeccompError| error.to_string();
    let default = action(seccomp.default_action(), seccomp.default_errno_ret())?;
    let mut context = ScmpFilterContext::new(default).map_err(failed)?;
    // Older versions of libseccomp search linearly.
    let _ = context.set_ctl_optimize(BY_HALVES);
    for architecture in seccomp.architectures().iter().flatten() {
        let name = architecture.to_string();
        let known = ScmpArch::from_str(&name).map_err(|_| format!("architecture {name}"))?;
        context
            .add_arch(known)
            .map_err(|error| format!("architecture {name}: {error}"))?;
    }
    for rule in seccomp.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        // The rule has the same effect as the default.
        if action == default {
            continue;
        }
        let conditions = conditions(rule)?;
        for name in rule.names() {
            // A call unknown to this libseccomp is probably unknown to the kernel, too. The default
            // applies.
            let Ok(call) = ScmpSyscall::from_name(name) else {
                tracing::debug!("linux.seccomp: no system call {name} is known");
                continue;
            };
            for condition in &conditions {
                context
                    .add_rule_conditional(action, call, condition)
                    .map_err(|error| format!("the rule for {name}: {error}"))?;
            }
        }
    }
    let filter = export(&context).map_err(|error| format!("compile the filter: {error}"))?;
    Ok(newer::answer(filter, seccomp))
}

/// The calls that the process itself makes once the filter holds, when the listener does not yet
/// know of it.
const BEFORE_DELIVERY: [&str; 2] = ["write", "sendmsg"];

/// Refuses a filter that reports a call without which the listener never knows of the filter.
fn refuse_deadlock(seccomp: &LinuxSeccomp) -> Result<(), String> {
    let notify = LinuxSeccompAction::ScmpActNotify;
    if seccomp.default_action() == notify {
        return Err("SCMP_ACT_NOTIFY cannot be the default action".to_owned());
    }
    let rules = seccomp.syscalls().iter().flatten();
    let mut reported = rules
        .filter(|rule| rule.action() == notify)
        .flat_map(LinuxSyscall::names);
    match reported.find(|name| BEFORE_DELIVERY.contains(&name.as_str())) {
        Some(name) => Err(format!(
            "SCMP_ACT_NOTIFY cannot be used for the {name} syscall"
        )),
        None => Ok(()),
    }
}

fn action(action: LinuxSeccompAction, value: Option<u32>) -> Result<ScmpAction, String> {
    let name = action.to_string();
    let value = i32::try_from(value.unwrap_or(nix::libc::EPERM.unsigned_abs()))
        .map_err(|_| format!("{name}: errnoRet is too large"))?;
    ScmpAction::from_str(&name, Some(value)).map_err(|error| format!("{name}: {error}"))
}

/// Returns the conditions under which a rule applies: it does if all conditions of any one list
/// hold. libseccomp allows one comparison per argument in a rule. If an argument is compared twice,
/// each comparison becomes a rule of its own, as in runc.
fn conditions(rule: &LinuxSyscall) -> Result<Vec<Vec<ScmpArgCompare>>, String> {
    let compared = rule.args().iter().flatten().map(condition);
    let compared = compared.collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    let once = rule
        .args()
        .iter()
        .flatten()
        .all(|argument| seen.insert(argument.index()));
    Ok(if once {
        vec![compared]
    } else {
        compared.into_iter().map(|one| vec![one]).collect()
    })
}

/// Converts a condition. The specification has the mask first, as has libseccomp's C interface.
fn condition(argument: &LinuxSeccompArg) -> Result<ScmpArgCompare, String> {
    let name = argument.op().to_string();
    let index = u32::try_from(argument.index()).map_err(|_| "args: index".to_owned())?;
    let operator = ScmpCompareOp::from_str(&name).map_err(|_| format!("operator {name}"))?;
    Ok(match operator {
        ScmpCompareOp::MaskedEqual(_) => ScmpArgCompare::new(
            index,
            ScmpCompareOp::MaskedEqual(argument.value()),
            argument.value_two().unwrap_or(0),
        ),
        operator => ScmpArgCompare::new(index, operator, argument.value()),
    })
}

fn export(context: &ScmpFilterContext) -> std::io::Result<Vec<u64>> {
    let mut file = File::from(memfd_create("filter", MemfdFlags::CLOEXEC)?);
    context.export_bpf(&file).map_err(std::io::Error::other)?;
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(instructions(&bytes))
}

/// Returns each `struct sock_filter` as one number in this machine's byte order.
pub(super) fn instructions(bytes: &[u8]) -> Vec<u64> {
    let (instructions, _) = bytes.as_chunks::<8>();
    instructions
        .iter()
        .map(|one| u64::from_ne_bytes(*one))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn compile_value(profile: Value) -> Result<Vec<u64>, String> {
        compile(&serde_json::from_value(profile).unwrap())
    }

    #[test]
    fn a_profile_becomes_a_program() {
        let program = compile_value(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                {"names": ["mkdir", "nosuchcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30},
                {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [
                    {"index": 0, "value": 0x1000_0000, "valueTwo": 0x1000_0000,
                     "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["socket"], "action": "SCMP_ACT_KILL", "args": [
                    {"index": 0, "value": 1, "op": "SCMP_CMP_LT"},
                    {"index": 0, "value": 9, "op": "SCMP_CMP_GT"}]},
            ],
        }));
        assert!(program.unwrap().len() > 10);
    }

    #[test]
    fn the_mask_comes_first() {
        let argument: LinuxSeccompArg = serde_json::from_value(
            json!({"index": 2, "value": 0xf0, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ"}),
        )
        .unwrap();
        let expected = ScmpArgCompare::new(2, ScmpCompareOp::MaskedEqual(0xf0), 0x10);
        assert_eq!(condition(&argument).unwrap(), expected);
    }

    #[test]
    fn what_would_wait_for_ever_is_refused() {
        let error = compile_value(json!({"defaultAction": "SCMP_ACT_NOTIFY"})).unwrap_err();
        assert!(error.contains("default action"), "{error}");
        let error = compile_value(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}],
        }));
        assert!(error.unwrap_err().contains("for the write"));
    }
}
