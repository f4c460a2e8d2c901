//! The capabilities of this machine's processor.

use std::fmt;

use elf::Object;

/// A machine, with its level of x86-64: all processors have level 1, level 4 has AVX-512 (x86-64
/// psABI, "Micro-Architecture Levels"). On other machines the level is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processor {
    /// The kind of its programs.
    pub machine: Object,
    /// The level.
    pub level: u32,
}

/// The flags that each level adds, as `/proc/cpuinfo` names them.
const LEVELS: [&[&str]; 3] = [
    &[
        "cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3",
    ],
    &[
        "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave",
    ],
    &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
];

impl Processor {
    /// Determines the level from the text of `/proc/cpuinfo`.
    #[must_use]
    pub fn new(machine: Object, cpuinfo: &str) -> Self {
        let mut lines = cpuinfo.lines();
        let flags = lines.find_map(|line| line.strip_prefix("flags")?.split_once(':'));
        let flags: Vec<&str> = flags
            .map(|(_, flags)| flags.split_whitespace().collect())
            .unwrap_or_default();
        let has = |level: &&&[&str]| level.iter().all(|flag| flags.contains(flag));
        let above = LEVELS.iter().take_while(has).count();
        let level = if machine.machine == 62 {
            1 + u32::try_from(above).unwrap_or(0)
        } else {
            0
        };
        Self { machine, level }
    }

    /// Returns the name of a machine.
    #[must_use]
    pub fn name(machine: Object) -> String {
        match machine.machine {
            62 => "x86-64".to_owned(),
            183 => "aarch64".to_owned(),
            3 => "i386".to_owned(),
            21 => "ppc64".to_owned(),
            22 => "s390x".to_owned(),
            243 => "riscv".to_owned(),
            other => format!("machine {other}"),
        }
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::name(self.machine))?;
        match self.level {
            0 => Ok(()),
            level => write!(f, "-v{level}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_from_the_lowest() {
        let mut head = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
        let of = |head: &[u8], flags: &[&str]| {
            let cpuinfo = format!("processor\t: 0\nflags\t\t: fpu {}\n", flags.join(" "));
            Processor::new(Object::parse(head).unwrap(), &cpuinfo).to_string()
        };
        assert_eq!(of(&head, &[]), "x86-64-v1");
        assert_eq!(of(&head, LEVELS[0]), "x86-64-v2");
        assert_eq!(of(&head, LEVELS[1]), "x86-64-v1");
        assert_eq!(of(&head, &LEVELS.concat()), "x86-64-v4");
        head[18] = 183;
        assert_eq!(of(&head, &[]), "aarch64");
    }
}
