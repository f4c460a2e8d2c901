//! Which devices a container may use, in the unified hierarchy: a program that the kernel asks.
//! libcgroups' own needs a C library at build time, and without it lets everything pass.

use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// `linux/bpf.h`, `BPF_DEVCG_DEV_*` and `BPF_DEVCG_ACC_*`.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ANY: u32 = MKNOD | READ | WRITE;

/// A rule; `None` means any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Option<u32>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

/// What every container may use (runc's list): make any node; null, zero, full, random, urandom, tty,
/// console, ptmx and the terminals.
fn always() -> impl Iterator<Item = Rule> {
    let node = |kind| Rule {
        allow: true,
        kind: Some(kind),
        major: None,
        minor: None,
        access: MKNOD,
    };
    let known = [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(1)),
        (5, Some(2)),
        (136, None),
    ];
    let known = known.into_iter().map(|(major, minor)| Rule {
        allow: true,
        kind: Some(CHARACTER),
        major: Some(major),
        minor,
        access: ANY,
    });
    [node(CHARACTER), node(BLOCK)].into_iter().chain(known)
}

impl Rule {
    /// Reads a rule of the specification; a negative number means any, as runc has it.
    fn new(rule: &LinuxDeviceCgroup) -> Self {
        let kind = match rule.typ().unwrap_or_default() {
            LinuxDeviceType::B => Some(BLOCK),
            LinuxDeviceType::C | LinuxDeviceType::U => Some(CHARACTER),
            LinuxDeviceType::A | LinuxDeviceType::P => None,
        };
        let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        let letters = rule.access().as_deref().unwrap_or("rwm");
        let bit = |letter: char, bit: u32| if letters.contains(letter) { bit } else { 0 };
        Self {
            allow: rule.allow(),
            kind,
            major: number(rule.major()),
            minor: number(rule.minor()),
            access: bit('m', MKNOD) | bit('r', READ) | bit('w', WRITE),
        }
    }

    /// Whether no rule before it is ever asked; the kernel refuses what cannot be reached.
    fn fits_all(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ANY
    }

    /// Appends what decides by this rule, and goes on behind it if the rule says nothing.
    fn assemble(&self, program: &mut Vec<u64>) {
        let mut tests = Vec::new();
        if let Some(kind) = self.kind {
            tests.push((KIND, kind));
        }
        if let Some(major) = self.major {
            tests.push((MAJOR, major));
        }
        if let Some(minor) = self.minor {
            tests.push((MINOR, minor));
        }
        let mut own = Vec::new();
        // Loading a program takes the kernel the longer the more of it there is.
        if self.access != ANY {
            // What is asked beyond an allowance is not allowed; what is denied in part is denied.
            let (mask, jump) = if self.allow {
                (!self.access, JUMP_UNEQUAL)
            } else {
                (self.access, JUMP_EQUAL)
            };
            own.extend([
                instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0),
                instruction(AND, SCRATCH, 0, 0, mask.cast_signed()),
                instruction(jump, SCRATCH, 0, 2, 0),
            ]);
        }
        own.extend([
            instruction(MOVE, RESULT, 0, 0, i32::from(self.allow)),
            instruction(EXIT, 0, 0, 0, 0),
        ]);
        let mut left = i16::try_from(tests.len() + own.len()).unwrap_or(i16::MAX);
        for (register, value) in tests {
            left -= 1;
            program.push(instruction(
                JUMP_UNEQUAL,
                register,
                0,
                left,
                value.cast_signed(),
            ));
        }
        program.extend(own);
    }
}

/// Registers: the answer, the context, and what of it is compared.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// Operations, Documentation/bpf/standardization/instruction-set.rst: the 32-bit forms.
const LOAD: u8 = 0x61;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_EQUAL: u8 = 0x16;
const JUMP_UNEQUAL: u8 = 0x56;
const EXIT: u8 = 0x95;

/// `struct bpf_insn`, as one number of this machine's order.
fn instruction(code: u8, target: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let registers = if cfg!(target_endian = "little") {
        source << 4 | target
    } else {
        target << 4 | source
    };
    let mut bytes = [0; 8];
    bytes[0] = code;
    bytes[1] = registers;
    bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
    bytes[4..].copy_from_slice(&immediate.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// Returns the program for a specification's rules. The last rule that says anything decides; what
/// none does is denied.
pub(super) fn program(rules: &[LinuxDeviceCgroup]) -> Vec<u64> {
    // `struct bpf_cgroup_dev_ctx`: access and kind, major, minor.
    let mut program = vec![
        instruction(LOAD, KIND, CONTEXT, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(LOAD, ACCESS, CONTEXT, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD, MINOR, CONTEXT, 8, 0),
    ];
    let rules: Vec<Rule> = rules.iter().map(Rule::new).chain(always()).collect();
    for rule in rules.iter().rev() {
        rule.assemble(&mut program);
        if rule.fits_all() {
            return program;
        }
    }
    program.push(instruction(MOVE, RESULT, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u32; 8];
        let mut at = 0;
        loop {
            let bytes = program[at].to_ne_bytes();
            let (target, source) = (usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
            let offset = i16::from_ne_bytes([bytes[2], bytes[3]]);
            let immediate = i32::from_ne_bytes(bytes[4..].try_into().unwrap()).cast_unsigned();
            let jump = match bytes[0] {
                LOAD => {
                    registers[target] = context[usize::try_from(offset).unwrap() / 4];
                    false
                }
                MOVE => {
                    registers[target] = immediate;
                    false
                }
                MOVE_REGISTER => {
                    registers[target] = registers[source];
                    false
                }
                AND => {
                    registers[target] &= immediate;
                    false
                }
                SHIFT_RIGHT => {
                    registers[target] >>= immediate;
                    false
                }
                JUMP_EQUAL => registers[target] == immediate,
                JUMP_UNEQUAL => registers[target] != immediate,
                EXIT => return registers[0] == 1,
                other => panic!("operation {other:#x}"),
            };
            at += 1 + if jump {
                usize::try_from(offset).unwrap()
            } else {
                0
            };
        }
    }

    fn of(rules: Value) -> Vec<u64> {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules).unwrap();
        program(&rules)
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        let denied = of(json!([{"allow": false, "access": "rwm"}]));
        assert!(
            !run(&denied, CHARACTER, READ, 10, 200),
            "a device of the host's"
        );
        assert!(run(&denied, CHARACTER, READ | WRITE, 1, 3), "null");
        assert!(run(&denied, CHARACTER, READ | WRITE, 136, 7), "a terminal");
        assert!(run(&denied, BLOCK, MKNOD, 8, 0), "making a node");
        assert!(!run(&denied, BLOCK, READ, 8, 0), "using it");
        let fuse = of(json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "r"},
        ]));
        assert!(run(&fuse, CHARACTER, READ, 10, 229));
        assert!(
            !run(&fuse, CHARACTER, READ | WRITE, 10, 229),
            "more than is allowed"
        );
        assert!(!run(&fuse, BLOCK, READ, 10, 229), "another kind");
        assert!(!run(&fuse, CHARACTER, READ, 10, 228), "another minor");
        let all_but = of(json!([
            {"allow": true, "access": "rwm"},
            {"allow": false, "type": "b", "major": 8, "access": "w"},
        ]));
        assert!(run(&all_but, CHARACTER, READ | WRITE, 10, 229));
        assert!(run(&all_but, BLOCK, READ, 8, 1));
        assert!(!run(&all_but, BLOCK, READ | WRITE, 8, 1), "denied in part");
    }

    #[test]
    fn nothing_is_allowed_by_no_rule() {
        assert!(!run(&of(json!([])), CHARACTER, READ, 10, 200));
    }
}
