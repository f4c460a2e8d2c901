//! Requests to the kernel that a contained program must not make: to type into the terminal that it
//! shares with its caller, and to use its caller's keys.

use std::io;

use crate::{filter_instruction as instruction, load_seccomp};

/// The numbers of system calls on an architecture (`AUDIT_ARCH_*` of `linux/audit.h`).
struct Calls {
    architecture: u32,
    /// ioctl(2).
    control: u32,
    /// The first of add_key(2), request_key(2) and keyctl(2), which follow one another.
    keys: u32,
}

/// The kernel's tables of system calls, `asm/unistd.h`. x86-64 is there twice, since x32 shares its
/// architecture number.
const CALLS: [Calls; 9] = [
    calls(0xc000_003e, 16, 248),
    calls(0xc000_003e, 0x4000_0000 + 514, 0x4000_0000 + 248),
    calls(0x4000_0003, 54, 286),
    calls(0xc000_00b7, 29, 217),
    calls(0x4000_0028, 54, 309),
    calls(0xc000_0015, 54, 269),
    calls(0x8000_0016, 54, 278),
    calls(0xc000_00f3, 29, 217),
    calls(0xc000_0102, 29, 217),
];

const fn calls(architecture: u32, control: u32, keys: u32) -> Calls {
    Calls {
        architecture,
        control,
        keys,
    }
}

/// Number of system calls about keys.
const OF_KEYS: u32 = 3;

/// `TIOCSTI` puts a byte into the terminal's input, `TIOCLINUX` pastes into that of a console (ioctl_tty(2)).
const REQUESTS: [u32; 2] = [0x5412, 0x541c];

/// Offsets in `struct seccomp_data`: the call's number, its architecture, and the half of its second argument that the
/// kernel looks at, whatever the other half holds.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const REQUEST: u32 = if cfg!(target_endian = "little") {
    24
} else {
    28
};

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_JMP | BPF_JGE | BPF_K`, `BPF_RET | BPF_K` of
/// `linux/filter.h`.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_NOT_LESS: u16 = 0x35;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0000 | libc::EPERM.unsigned_abs();

/// Makes the kernel refuse two kinds of requests, for this process and all that it starts. The
/// first types into a terminal, where a shell outside would execute the text (CVE-2016-7545,
/// CVE-2019-10063). The second are all calls about keys: the keys of a user belong to the user's
/// id, which a container does not change, and are found in `/proc/keys`. The caller must have no
/// new privileges, or `CAP_SYS_ADMIN`.
///
/// # Errors
///
/// Returns the errno of seccomp(2).
pub fn forbid_terminal_input_and_keys() -> io::Result<()> {
    load_seccomp(&program(), 0).map(|_| ())
}

/// Returns the filter. For each table of calls, it jumps behind the table's instructions unless the
/// architecture is the table's and the call is one of those.
fn program() -> Vec<u64> {
    let mut program = Vec::new();
    for calls in CALLS {
        program.push(instruction(LOAD, 0, 0, ARCHITECTURE));
        program.push(instruction(JUMP_IF_EQUAL, 0, 8, calls.architecture));
        program.push(instruction(LOAD, 0, 0, NUMBER));
        program.push(instruction(JUMP_IF_EQUAL, 2, 0, calls.control));
        program.push(instruction(JUMP_IF_NOT_LESS, 0, 5, calls.keys));
        program.push(instruction(JUMP_IF_NOT_LESS, 4, 3, calls.keys + OF_KEYS));
        program.push(instruction(LOAD, 0, 0, REQUEST));
        program.push(instruction(JUMP_IF_EQUAL, 1, 0, REQUESTS[0]));
        program.push(instruction(JUMP_IF_EQUAL, 0, 1, REQUESTS[1]));
        program.push(instruction(RETURN, 0, 0, REFUSE));
    }
    program.push(instruction(RETURN, 0, 0, ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program on a call, as the kernel would.
    fn outcome(program: &[u64], architecture: u32, number: u32, request: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let [c0, c1, when_true, when_false, o0, o1, o2, o3] = program[at].to_ne_bytes();
            let operand = u32::from_ne_bytes([o0, o1, o2, o3]);
            at += 1;
            let jump = |is_true: bool| usize::from(if is_true { when_true } else { when_false });
            match u16::from_ne_bytes([c0, c1]) {
                LOAD if operand == NUMBER => value = number,
                LOAD if operand == ARCHITECTURE => value = architecture,
                LOAD => value = request,
                JUMP_IF_EQUAL => at += jump(value == operand),
                JUMP_IF_NOT_LESS => at += jump(value >= operand),
                _ => return operand,
            }
        }
    }

    #[test]
    fn two_requests_of_one_call_and_three_calls_are_refused() {
        let program = program();
        for calls in CALLS {
            let on = |number, request| outcome(&program, calls.architecture, number, request);
            for request in REQUESTS {
                assert_eq!(on(calls.control, request), REFUSE);
                assert_eq!(on(calls.control + 1, request), ALLOW);
            }
            assert_eq!(on(calls.control, 0x5413), ALLOW);
            for number in 0..OF_KEYS {
                assert_eq!(on(calls.keys + number, 0), REFUSE, "{number}");
            }
            assert_eq!(on(calls.keys - 1, 0), ALLOW);
            assert_eq!(on(calls.keys + OF_KEYS, 0), ALLOW);
        }
        assert_eq!(outcome(&program, 0x1234, 16, REQUESTS[0]), ALLOW);
    }
}
