//! Keeping a program from typing into the terminal that it shares with its caller.

use std::io;

use crate::load_seccomp;

/// `AUDIT_ARCH_*` of `linux/audit.h`, and the numbers of ioctl(2) there; x32 shares the first with x86-64.
const CALLS: [(u32, u32); 9] = [
    (0xc000_003e, 16),
    (0xc000_003e, 0x4000_0000 + 514),
    (0x4000_0003, 54),
    (0xc000_00b7, 29),
    (0x4000_0028, 54),
    (0xc000_0015, 54),
    (0x8000_0016, 54),
    (0xc000_00f3, 29),
    (0xc000_0102, 29),
];

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

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K` of `linux/filter.h`.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const REFUSE: u32 = 0x0005_0000 | libc::EPERM.unsigned_abs();

/// Has the kernel refuse, for this process and all that it starts, what would be typed into a terminal: a shell outside
/// would execute it (CVE-2016-7545, CVE-2019-10063). The caller must have no new privileges, or `CAP_SYS_ADMIN`. Linux
/// refuses by itself where the sysctl `dev.tty.legacy_tiocsti` is 0, since 6.2.
///
/// # Errors
///
/// Returns the errno of seccomp(2).
pub fn forbid_terminal_input() -> io::Result<()> {
    load_seccomp(&program(), 0).map(|_| ())
}

/// For each way to call ioctl(2): jumps behind its four instructions unless it is that call; then the requests.
fn program() -> Vec<u64> {
    let mut program = Vec::new();
    for (architecture, number) in CALLS {
        program.push(instruction(LOAD, 0, 0, ARCHITECTURE));
        program.push(instruction(JUMP_IF_EQUAL, 0, 6, architecture));
        program.push(instruction(LOAD, 0, 0, NUMBER));
        program.push(instruction(JUMP_IF_EQUAL, 0, 4, number));
        program.push(instruction(LOAD, 0, 0, REQUEST));
        program.push(instruction(JUMP_IF_EQUAL, 1, 0, REQUESTS[0]));
        program.push(instruction(JUMP_IF_EQUAL, 0, 1, REQUESTS[1]));
        program.push(instruction(RETURN, 0, 0, REFUSE));
    }
    program.push(instruction(RETURN, 0, 0, ALLOW));
    program
}

/// A `struct sock_filter`: how many instructions are skipped if it is true, and if it is not.
fn instruction(code: u16, when_true: u8, when_false: u8, operand: u32) -> u64 {
    let [c0, c1] = code.to_ne_bytes();
    let [o0, o1, o2, o3] = operand.to_ne_bytes();
    u64::from_ne_bytes([c0, c1, when_true, when_false, o0, o1, o2, o3])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries a program out, as the kernel would, on a call.
    fn outcome(program: &[u64], architecture: u32, number: u32, request: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let [c0, c1, when_true, when_false, o0, o1, o2, o3] = program[at].to_ne_bytes();
            let operand = u32::from_ne_bytes([o0, o1, o2, o3]);
            at += 1;
            match u16::from_ne_bytes([c0, c1]) {
                LOAD if operand == NUMBER => value = number,
                LOAD if operand == ARCHITECTURE => value = architecture,
                LOAD => value = request,
                JUMP_IF_EQUAL => {
                    at += usize::from(if value == operand {
                        when_true
                    } else {
                        when_false
                    });
                }
                _ => return operand,
            }
        }
    }

    #[test]
    fn two_requests_of_one_call_are_refused() {
        let program = program();
        for (architecture, number) in CALLS {
            for request in REQUESTS {
                assert_eq!(outcome(&program, architecture, number, request), REFUSE);
                assert_eq!(outcome(&program, architecture, number + 1, request), ALLOW);
            }
            assert_eq!(outcome(&program, architecture, number, 0x5413), ALLOW);
        }
        assert_eq!(outcome(&program, 0x1234, 16, REQUESTS[0]), ALLOW);
    }
}
