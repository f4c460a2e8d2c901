//! Programs that decide which devices a cgroup's processes may use, assembled from rules.

use crate::Rule;

impl Rule {
    /// Whether the rule matches every access, so that no rule before it is ever reached. The kernel
    /// refuses unreachable instructions.
    fn fits_all(&self) -> bool {
        self.kind.is_none()
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == Rule::ANY
    }

    /// Appends the instructions that decide by this rule. If the rule does not match, the program
    /// continues behind them.
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
        // The kernel takes longer to load a longer program.
        if self.access != Rule::ANY {
            // A rule that allows must cover all of the requested access; a rule that denies applies
            // if it covers any part of it.
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

/// Registers: the result, the context, and the parts of the context that are compared.
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

/// Returns a `struct bpf_insn` as one number in this machine's byte order.
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

/// Returns the instructions that load the context, `struct bpf_cgroup_dev_ctx`: access and kind,
/// major, minor.
fn prologue() -> Vec<u64> {
    vec![
        instruction(LOAD, KIND, CONTEXT, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(LOAD, ACCESS, CONTEXT, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD, MINOR, CONTEXT, 8, 0),
    ]
}

/// Returns the program for rules as a list of `struct bpf_insn`. The last rule that matches
/// decides. An access that no rule matches is denied.
pub(crate) fn program(rules: &[Rule]) -> Vec<u64> {
    let mut program = prologue();
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

/// Returns a program that lets another program decide what the rules do not allow themselves.
pub(crate) fn widened(rules: &[Rule], other: &[u64]) -> Vec<u64> {
    let mut program = prologue();
    for rule in rules.iter().filter(|rule| rule.allow && !rule.fits_all()) {
        rule.assemble(&mut program);
    }
    // A program starts with nothing but its context, which is still in its register.
    program.extend(other);
    program
}

#[cfg(test)]
mod tests {
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

    const DENIED: Rule = Rule {
        allow: false,
        kind: None,
        major: None,
        minor: None,
        access: Rule::ANY,
    };
    const FUSE: Rule = Rule {
        allow: true,
        kind: Some(Rule::CHARACTER),
        major: Some(10),
        minor: Some(229),
        access: Rule::READ,
    };

    #[test]
    fn the_last_rule_that_fits_decides() {
        let fuse = program(&[DENIED, FUSE]);
        assert!(run(&fuse, Rule::CHARACTER, Rule::READ, 10, 229));
        assert!(
            !run(&fuse, Rule::CHARACTER, Rule::READ | Rule::WRITE, 10, 229),
            "more than is allowed"
        );
        assert!(
            !run(&fuse, Rule::BLOCK, Rule::READ, 10, 229),
            "another kind"
        );
        assert!(
            !run(&fuse, Rule::CHARACTER, Rule::READ, 10, 228),
            "another minor"
        );
        let all = Rule {
            allow: true,
            ..DENIED
        };
        let disk = Rule {
            kind: Some(Rule::BLOCK),
            major: Some(8),
            access: Rule::WRITE,
            ..DENIED
        };
        let all_but = program(&[all, disk]);
        assert!(run(
            &all_but,
            Rule::CHARACTER,
            Rule::READ | Rule::WRITE,
            10,
            229
        ));
        assert!(run(&all_but, Rule::BLOCK, Rule::READ, 8, 1));
        assert!(
            !run(&all_but, Rule::BLOCK, Rule::READ | Rule::WRITE, 8, 1),
            "denied in part"
        );
    }

    #[test]
    fn nothing_is_allowed_by_no_rule() {
        assert!(!run(&program(&[]), Rule::CHARACTER, Rule::READ, 10, 200));
    }

    #[test]
    fn what_is_widened_allows_what_it_did_and_more() {
        let zero = Rule {
            major: Some(1),
            minor: Some(5),
            ..FUSE
        };
        let both = widened(&[FUSE], &program(&[DENIED, zero]));
        assert!(
            run(&both, Rule::CHARACTER, Rule::READ, 10, 229),
            "what is new"
        );
        assert!(run(&both, Rule::CHARACTER, Rule::READ, 1, 5), "what was");
        assert!(!run(&both, Rule::CHARACTER, Rule::WRITE, 10, 229));
        assert!(!run(&both, Rule::CHARACTER, Rule::READ, 10, 200));
    }
}
