//! The answer to system calls that are newer than a profile: `ENOSYS`, by which the C library falls
//! back to older ones. With the profile's own error, most often `EPERM`, programs fail. As in runc
//! (`patchbpf`), a call is newer if its number is above those of all calls that the profile names.

use std::str::FromStr;

use libcontainer::oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};
use libseccomp::{ScmpArch, ScmpSyscall};
use nix::libc::{ENOSYS, SECCOMP_RET_ERRNO};
use sys::filter_instruction as instruction;

/// Instructions of `linux/filter.h`: `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP` with `BPF_JEQ | BPF_K` and
/// `BPF_JGT | BPF_K`, and `BPF_RET | BPF_K`.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER: u16 = 0x25;
const RETURN: u16 = 0x06;
/// Places in `struct seccomp_data` of `linux/seccomp.h`, in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// Numbers from here on are those of x32, which shares its architecture's number with x86-64
/// (`__X32_SYSCALL_BIT` of `asm/unistd.h`).
const X32: u32 = 0x4000_0000;

/// Puts the answer before a compiled filter.
pub(super) fn answer(filter: Vec<u64>, seccomp: &LinuxSeccomp) -> Vec<u64> {
    let refuses = !matches!(
        seccomp.default_action(),
        LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog
    );
    let is_said = seccomp.default_errno_ret() == Some(ENOSYS.unsigned_abs());
    if !refuses || is_said {
        return filter;
    }
    let mut program = Vec::new();
    for (architecture, last) in last_calls(seccomp) {
        program.extend([
            instruction(LOAD, 0, 0, ARCHITECTURE),
            instruction(JUMP_IF_EQUAL, 0, 4, architecture),
            instruction(LOAD, 0, 0, NUMBER),
            instruction(JUMP_IF_GREATER, 2, 0, X32 - 1),
            instruction(JUMP_IF_GREATER, 0, 1, last),
            instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | ENOSYS.unsigned_abs()),
        ]);
    }
    program.extend(filter);
    program
}

/// Returns the profile's architectures by their numbers of `linux/audit.h`, each with the highest
/// number of a call that the profile names.
fn last_calls(seccomp: &LinuxSeccomp) -> Vec<(u32, u32)> {
    let named = seccomp.architectures().iter().flatten();
    let named = named.filter_map(|one| ScmpArch::from_str(&one.to_string()).ok());
    let mut architectures = vec![ScmpArch::native()];
    architectures.extend(named.filter(|one| *one != ScmpArch::native()));
    let rules = seccomp.syscalls().iter().flatten();
    let names: Vec<&String> = rules.flat_map(LinuxSyscall::names).collect();
    let last = |architecture: ScmpArch| {
        let numbers = names.iter().filter_map(|name| {
            let call = ScmpSyscall::from_name_by_arch(name, architecture).ok()?;
            // Calls that an architecture lacks have negative numbers.
            u32::try_from(i32::from(call)).ok()
        });
        Some((
            audit(architecture)?,
            numbers.filter(|number| *number < X32).max()?,
        ))
    };
    architectures.into_iter().filter_map(last).collect()
}

/// Returns an architecture's number of `linux/audit.h`. Those whose calls a filter sees in another way
/// are left to the profile.
fn audit(architecture: ScmpArch) -> Option<u32> {
    Some(match architecture {
        ScmpArch::X8664 => 0xc000_003e,
        ScmpArch::X86 => 0x4000_0003,
        ScmpArch::Aarch64 => 0xc000_00b7,
        ScmpArch::Arm => 0x4000_0028,
        ScmpArch::Ppc64Le => 0xc000_0015,
        ScmpArch::S390X => 0x8000_0016,
        ScmpArch::Riscv64 => 0xc000_00f3,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The result for a filter that is not reached.
    const PASSED: u32 = 7;

    /// Runs a program of the instructions above.
    fn run(program: &[u64], architecture: u32, number: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let [c0, c1, yes, no, o0, o1, o2, o3] = program[at].to_ne_bytes();
            let operand = u32::from_ne_bytes([o0, o1, o2, o3]);
            at += 1;
            let jump = |is_true: bool| usize::from(if is_true { yes } else { no });
            match u16::from_ne_bytes([c0, c1]) {
                LOAD if operand == NUMBER => value = number,
                LOAD => value = architecture,
                JUMP_IF_EQUAL => at += jump(value == operand),
                JUMP_IF_GREATER => at += jump(value > operand),
                _ => return operand,
            }
        }
    }

    #[test]
    fn newer_calls_are_unknown() {
        let program = |default: serde_json::Value| {
            let mut profile = json!({
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [{"names": ["read", "openat2", "nosuchcall"], "action": "SCMP_ACT_ALLOW"}],
            });
            for (name, value) in default.as_object().unwrap() {
                profile[name] = value.clone();
            }
            let profile: LinuxSeccomp = serde_json::from_value(profile).unwrap();
            answer(vec![instruction(RETURN, 0, 0, PASSED)], &profile)
        };
        let refusing = program(json!({"defaultAction": "SCMP_ACT_ERRNO"}));
        let unknown = SECCOMP_RET_ERRNO | ENOSYS.unsigned_abs();
        let (x64, x86) = (0xc000_003e, 0x4000_0003);
        for (architecture, number, expected) in [
            (x64, 0, PASSED),
            (x64, 437, PASSED),
            (x64, 438, unknown),
            (x64, 1000, unknown),
            (x64, X32 + 1, PASSED),
            (x86, 437, PASSED),
            (x86, 500, unknown),
            (0xc000_00b7, 1000, PASSED),
        ] {
            let seen = run(&refusing, architecture, number);
            assert_eq!(seen, expected, "{architecture:x}, {number}");
        }
        for default in [
            json!({"defaultAction": "SCMP_ACT_ALLOW"}),
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38}),
        ] {
            assert_eq!(program(default).len(), 1);
        }
    }
}
