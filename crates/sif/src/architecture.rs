//! The format's architecture codes, with Go's names.

use std::fmt;

/// A processor architecture that a SIF can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    code: [u8; 2],
    name: &'static str,
}

/// `sif.GoArch` of `github.com/sylabs/sif`, and loong64 as added by Apptainer.
const TABLE: &[Architecture] = &[
    Architecture {
        code: *b"01",
        name: "386",
    },
    Architecture {
        code: *b"02",
        name: "amd64",
    },
    Architecture {
        code: *b"03",
        name: "arm",
    },
    Architecture {
        code: *b"04",
        name: "arm64",
    },
    Architecture {
        code: *b"05",
        name: "ppc64",
    },
    Architecture {
        code: *b"06",
        name: "ppc64le",
    },
    Architecture {
        code: *b"07",
        name: "mips",
    },
    Architecture {
        code: *b"08",
        name: "mipsle",
    },
    Architecture {
        code: *b"09",
        name: "mips64",
    },
    Architecture {
        code: *b"10",
        name: "mips64le",
    },
    Architecture {
        code: *b"11",
        name: "s390x",
    },
    Architecture {
        code: *b"12",
        name: "riscv64",
    },
    Architecture {
        code: *b"13",
        name: "loong64",
    },
];

impl Architecture {
    /// Returns the architecture of the three bytes (`NN\0`) in a header or partition. Returns
    /// `None` for "unknown" (`00`) and for codes outside the table.
    #[must_use]
    pub fn from_code(code: [u8; 3]) -> Option<Self> {
        TABLE
            .iter()
            .find(|entry| code.starts_with(&entry.code))
            .copied()
    }

    /// Returns the architecture with Go's name `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|entry| entry.name == name).copied()
    }

    /// Returns the architecture with a number of the format, from 1.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        let code = format!("{number:02}");
        TABLE
            .iter()
            .find(|entry| entry.code == code.as_bytes())
            .copied()
    }

    /// Returns the three bytes for a header or partition, those of "unknown" for `None`.
    pub(crate) fn code_of(architecture: Option<Self>) -> [u8; 3] {
        let [tens, ones] = architecture.map_or(*b"00", |architecture| architecture.code);
        [tens, ones, 0]
    }

    /// Returns Go's name of the architecture: `amd64`, `arm64`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
