//! Small ELF files and root file systems with them, for unit tests. No product code uses this crate.
//!
//! The files have what a dynamic loader and our readers look at, and no code (System V gABI,
//! chapters 4 and 5).

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "for tests only")]

mod bytes;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use bytes::{Section, file};

/// A shared library or a program, for x86-64.
#[derive(Debug, Clone, Default)]
pub struct Elf {
    soname: Option<String>,
    needed: Vec<String>,
    runpath: Option<String>,
    defined: Vec<String>,
    undefined: Vec<String>,
}

const DT_NEEDED: u64 = 1;
const DT_SONAME: u64 = 14;
const DT_RUNPATH: u64 = 29;

const SHT_STRTAB: u32 = 3;
const SHT_DYNAMIC: u32 = 6;
const SHT_DYNSYM: u32 = 11;

/// Index of the string table among the sections.
const STRINGS: u32 = 1;

impl Elf {
    /// Returns a library of a name.
    #[must_use]
    pub fn library(soname: &str) -> Self {
        Self {
            soname: Some(soname.to_owned()),
            ..Self::default()
        }
    }

    /// Returns a program.
    #[must_use]
    pub fn program() -> Self {
        Self::default()
    }

    /// Adds a library that it needs.
    #[must_use]
    pub fn needs(mut self, library: &str) -> Self {
        self.needed.push(library.to_owned());
        self
    }

    /// Sets the directories in which its libraries are searched.
    #[must_use]
    pub fn runpath(mut self, path: &str) -> Self {
        self.runpath = Some(path.to_owned());
        self
    }

    /// Adds a symbol that it defines.
    #[must_use]
    pub fn defines(mut self, symbol: &str) -> Self {
        self.defined.push(symbol.to_owned());
        self
    }

    /// Adds a symbol that another object has to define.
    #[must_use]
    pub fn uses(mut self, symbol: &str) -> Self {
        self.undefined.push(symbol.to_owned());
        self
    }

    /// Returns the file's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let mut string = |text: &str| {
            let at = strings.len();
            strings.extend(text.as_bytes());
            strings.push(0);
            u64::try_from(at).unwrap()
        };
        let mut dynamic = Vec::new();
        let needed = self.needed.iter().map(|name| (DT_NEEDED, name));
        let soname = self.soname.iter().map(|name| (DT_SONAME, name));
        let runpath = self.runpath.iter().map(|path| (DT_RUNPATH, path));
        for (tag, text) in needed.chain(soname).chain(runpath) {
            dynamic.extend(tag.to_le_bytes());
            dynamic.extend(string(text).to_le_bytes());
        }
        dynamic.extend([0; 16]);
        // The first symbol of a table is empty.
        let mut symbols = vec![0; 24];
        let defined = self.defined.iter().map(|name| (name, 1_u16));
        let undefined = self.undefined.iter().map(|name| (name, 0));
        for (name, section) in defined.chain(undefined) {
            symbols.extend(u32::try_from(string(name)).unwrap().to_le_bytes());
            // STB_GLOBAL and STT_FUNC.
            symbols.extend([0x12, 0]);
            symbols.extend(section.to_le_bytes());
            symbols.extend([0; 16]);
        }
        file(&[
            Section::new(SHT_STRTAB, 0, 0, strings),
            Section::new(SHT_DYNAMIC, STRINGS, 16, dynamic),
            Section::new(SHT_DYNSYM, STRINGS, 24, symbols),
        ])
    }
}

/// A root file system in a temporary directory.
#[derive(Debug)]
pub struct Root(TempDir);

impl Default for Root {
    fn default() -> Self {
        Self::new()
    }
}

impl Root {
    /// Makes an empty one.
    ///
    /// # Panics
    ///
    /// Panics when the directory cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Makes one with the GNU C library, and a program by which its machine is known.
    ///
    /// # Panics
    ///
    /// As [`Root::with`].
    #[must_use]
    pub fn glibc() -> Self {
        Self::new()
            .with("/lib64/libc.so.6", &Elf::library("libc.so.6"))
            .with("/bin/sh", &Elf::program().needs("libc.so.6"))
    }

    /// Adds an ELF file.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be written.
    #[must_use]
    pub fn with(self, path: &str, elf: &Elf) -> Self {
        self.with_file(path, &elf.bytes())
    }

    /// Adds a file, and the directories above it. Everybody may execute it.
    ///
    /// # Panics
    ///
    /// Panics when it cannot be written.
    #[must_use]
    pub fn with_file(self, path: &str, content: &[u8]) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Returns its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
