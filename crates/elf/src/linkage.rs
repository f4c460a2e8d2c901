//! The libraries and symbol versions that an object needs and provides.
//!
//! The layouts follow the System V gABI, chapter 5, "Dynamic Linking". Symbol versions follow the
//! Linux Standard Base, chapter 10.7, and the note of needed instruction sets the x86-64 psABI,
//! chapter 5.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadRef};

use crate::bounded::Bounded;
use crate::object::{Object, ObjectError};

/// The libraries and symbol versions that an object needs and provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linkage {
    /// The machine that the object is for.
    pub object: Object,
    /// The path of the loader (`PT_INTERP`). Programs have one.
    pub interpreter: Option<OsString>,
    /// The object's own name (`DT_SONAME`).
    pub soname: Option<OsString>,
    /// The names of the libraries that the object needs (`DT_NEEDED`), in their order.
    pub needed: Vec<OsString>,
    /// Directories to search first for this object's libraries, and for the libraries of those
    /// (`DT_RPATH`).
    pub rpath: Option<OsString>,
    /// Directories to search for this object's libraries only (`DT_RUNPATH`). With it, `rpath` is
    /// ignored.
    pub runpath: Option<OsString>,
    /// The symbol versions that other objects must define.
    pub versions_needed: Vec<VersionNeed>,
    /// The symbol versions that this object defines.
    pub versions_defined: Vec<OsString>,
    /// The instruction sets that the object needs, as the bits of `GNU_PROPERTY_X86_ISA_1_NEEDED`.
    pub isa_needed: u32,
}

/// Longest name in bytes, and largest numbers of names. Valid objects have a tenth of them.
const LONGEST: usize = 255;
const MOST_NEEDED: usize = 1024;
const MOST_VERSIONS: usize = 8192;
/// Longest search path, in bytes.
const LONGEST_PATH: usize = 4096;

/// A symbol version that an object needs from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VersionNeed {
    /// The name of the other object: `libc.so.6`.
    pub library: OsString,
    /// The version: `GLIBC_2.34`.
    pub version: OsString,
    /// Whether the loader continues without it (`VER_FLG_WEAK`).
    pub weak: bool,
}

/// A symbol of an object's dynamic table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Symbol {
    /// The symbol's name.
    pub name: OsString,
    /// Whether another object must define the symbol.
    pub undefined: bool,
    /// Whether the symbol may be missing.
    pub weak: bool,
}

impl Linkage {
    /// Reads an object.
    ///
    /// # Errors
    ///
    /// Fails when the content is not an ELF object, or when a part that is read here is damaged.
    pub fn read(content: impl Read + Seek) -> Result<Self, ObjectError> {
        let data = &Bounded::new(content);
        let head = data.read_bytes_at(0, Object::HEAD as u64);
        let object = Object::parse(head.map_err(|()| ObjectError::NotElf)?)?;
        let linkage = match object.class {
            crate::Class::Elf32 => linkage::<elf::FileHeader32<Endianness>, _>(data, object),
            crate::Class::Elf64 => linkage::<elf::FileHeader64<Endianness>, _>(data, object),
        };
        let linkage = linkage.map_err(|error| ObjectError::Damaged(error.to_string()))?;
        match linkage.is_honest() {
            true => Ok(linkage),
            false => Err(ObjectError::Damaged("names without end".to_owned())),
        }
    }

    /// Whether all names are within the limits that valid objects keep.
    fn is_honest(&self) -> bool {
        let versions = self.versions_needed.iter();
        let names = versions.flat_map(|need| [&need.library, &need.version]);
        let names = names
            .chain(&self.needed)
            .chain(&self.versions_defined)
            .chain(&self.soname);
        let mut paths = self
            .rpath
            .iter()
            .chain(&self.runpath)
            .chain(&self.interpreter);
        self.needed.len() <= MOST_NEEDED
            && self.versions_needed.len() + self.versions_defined.len() <= MOST_VERSIONS
            && paths.all(|path| path.len() <= LONGEST_PATH)
            && { names }.all(|name| name.len() <= LONGEST)
    }

    /// Returns the approximate size of this value in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        let versions = self.versions_needed.iter();
        let versions = versions.map(|need| need.library.len() + need.version.len() + 64);
        let names = self
            .needed
            .iter()
            .chain(&self.versions_defined)
            .map(|name| name.len() + 32);
        versions.chain(names).sum::<usize>() + 512
    }

    /// Returns the level of x86-64 that the object needs: every processor has 1, and 4 has AVX-512.
    /// Returns 0 when the object does not state a level.
    #[must_use]
    pub fn x86_64_level(&self) -> u32 {
        u32::BITS - (self.isa_needed & 0xf).leading_zeros()
    }
}

/// Reads the dynamic symbols of an object.
///
/// # Errors
///
/// As [`Linkage::read`].
pub fn symbols(content: impl Read + Seek) -> Result<Vec<Symbol>, ObjectError> {
    let data = &Bounded::new(content);
    let head = data.read_bytes_at(0, Object::HEAD as u64);
    let object = Object::parse(head.map_err(|()| ObjectError::NotElf)?)?;
    match object.class {
        crate::Class::Elf32 => dynamic_symbols::<elf::FileHeader32<Endianness>, _>(data),
        crate::Class::Elf64 => dynamic_symbols::<elf::FileHeader64<Endianness>, _>(data),
    }
    .map_err(|error| ObjectError::Damaged(error.to_string()))
}

fn linkage<'a, Elf, R>(data: R, object: Object) -> object::Result<Linkage>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'a>,
{
    let header = Elf::parse(data)?;
    let mut found = Linkage {
        object,
        interpreter: None,
        soname: None,
        needed: Vec::new(),
        rpath: None,
        runpath: None,
        versions_needed: Vec::new(),
        versions_defined: Vec::new(),
        isa_needed: 0,
    };
    read_segments(header, data, &mut found)?;
    read_dynamic(header, data, &mut found)?;
    read_versions(header, data, &mut found)?;
    Ok(found)
}

fn text(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

/// Reads the interpreter and the instruction sets that the file says it needs.
fn read_segments<'a, Elf, R>(header: &Elf, data: R, found: &mut Linkage) -> object::Result<()>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'a>,
{
    let endian = header.endian()?;
    for segment in header.program_headers(endian, data)? {
        if let Some(path) = segment.interpreter(endian, data)? {
            found.interpreter = Some(text(path));
        }
        // The properties also have a segment of their own, which is not a segment of notes.
        let Some(mut notes) = segment.notes(endian, data)? else {
            continue;
        };
        while let Some(note) = notes.next()? {
            let Some(mut properties) = note.gnu_properties(endian) else {
                continue;
            };
            while let Some(property) = properties.next()? {
                if property.pr_type() == elf::GNU_PROPERTY_X86_ISA_1_NEEDED {
                    found.isa_needed |= property.data_u32(endian)?;
                }
            }
        }
    }
    Ok(())
}

/// Reads the names of libraries and the search paths.
fn read_dynamic<'a, Elf, R>(header: &Elf, data: R, found: &mut Linkage) -> object::Result<()>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'a>,
{
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    for section in sections.iter() {
        if section.sh_type(endian) != elf::SHT_DYNAMIC {
            continue;
        }
        let Some((entries, strings)) = section.dynamic(endian, data)? else {
            continue;
        };
        let strings = sections.strings(endian, data, strings)?;
        for entry in entries {
            use object::read::elf::Dyn;
            let string =
                || -> object::Result<OsString> { Ok(text(entry.string(endian, strings)?)) };
            match entry.tag(endian) {
                elf::DT_NULL => break,
                elf::DT_NEEDED if found.needed.len() <= MOST_NEEDED => found.needed.push(string()?),
                elf::DT_SONAME => found.soname = Some(string()?),
                elf::DT_RPATH => found.rpath = Some(string()?),
                elf::DT_RUNPATH => found.runpath = Some(string()?),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Reads the symbol versions that the file needs and defines.
fn read_versions<'a, Elf, R>(header: &Elf, data: R, found: &mut Linkage) -> object::Result<()>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'a>,
{
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    if let Some((mut needs, strings)) = sections.gnu_verneed(endian, data)? {
        let strings = sections.strings(endian, data, strings)?;
        while let Some((need, mut versions)) = needs.next()? {
            let library = text(need.file(endian, strings)?);
            while let Some(version) = versions.next()? {
                if found.versions_needed.len() > MOST_VERSIONS {
                    return Ok(());
                }
                found.versions_needed.push(VersionNeed {
                    library: library.clone(),
                    version: text(version.name(endian, strings)?),
                    weak: version.vna_flags.get(endian).contains(elf::VER_FLG_WEAK),
                });
            }
        }
    }
    if let Some((mut definitions, strings)) = sections.gnu_verdef(endian, data)? {
        let strings = sections.strings(endian, data, strings)?;
        while let Some((_, mut names)) = definitions.next()? {
            // The first name is the version itself; the others are its predecessors.
            if let Some(name) = names.next()? {
                let name = text(name.name(endian, strings)?);
                found.versions_defined.push(name);
            }
        }
    }
    Ok(())
}

fn dynamic_symbols<'a, Elf, R>(data: R) -> object::Result<Vec<Symbol>>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'a>,
{
    use object::read::elf::Sym;
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let table = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
    let named = table.iter().filter(|symbol| symbol.st_name(endian) != 0);
    named
        .map(|symbol| {
            let name = symbol.name(endian, table.strings())?;
            Ok(Symbol {
                name: OsStr::from_bytes(name).to_owned(),
                undefined: symbol.is_undefined(endian),
                weak: symbol.is_weak(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    fn readelf(flags: &[&str], path: &str) -> String {
        let output = Command::new("readelf")
            .args(flags)
            .arg(path)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Returns the text in brackets behind a tag.
    fn tagged<'a>(text: &'a str, tag: &str) -> Vec<&'a str> {
        let lines = text.lines().filter(|line| line.contains(tag));
        lines
            .map(|line| line.rsplit_once('[').unwrap().1.trim_end_matches(']'))
            .collect()
    }

    #[test]
    fn agrees_with_readelf() {
        let own = std::env::current_exe().unwrap();
        let libc = "/lib/x86_64-linux-gnu/libc.so.6";
        let libstdcxx = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6";
        for path in [own.to_str().unwrap(), libc, libstdcxx, "/bin/bash"] {
            let Ok(file) = File::open(path) else { continue };
            let ours = Linkage::read(file).unwrap();
            let dynamic = readelf(&["-dW"], path);
            assert_eq!(ours.needed, tagged(&dynamic, "(NEEDED)"), "{path}");
            let soname: Vec<&OsStr> = ours.soname.iter().map(OsString::as_os_str).collect();
            assert_eq!(soname, tagged(&dynamic, "(SONAME)"), "{path}");
            let versions = readelf(&["-VW"], path);
            for need in &ours.versions_needed {
                assert!(
                    versions.contains(&format!("Name: {}  ", need.version.display())),
                    "{path}: {need:?}"
                );
            }
            let names = versions.matches("  Name: ").count();
            // The output of `readelf` has the names of definitions and of needs, but not of
            // parents.
            assert!(
                names >= ours.versions_needed.len() + ours.versions_defined.len(),
                "{path}"
            );
            let symbols = symbols(File::open(path).unwrap()).unwrap();
            let table = readelf(&["-sW", "--dyn-syms"], path);
            let undefined = symbols
                .iter()
                .filter(|symbol| symbol.undefined && !symbol.weak);
            for symbol in undefined.take(20) {
                assert!(
                    table.contains(symbol.name.to_str().unwrap()),
                    "{path}: {symbol:?}"
                );
            }
            assert!(!symbols.is_empty(), "{path}");
        }
    }

    #[test]
    fn the_c_library_tells_what_it_defines() {
        let Ok(file) = File::open("/lib/x86_64-linux-gnu/libc.so.6") else {
            return;
        };
        let libc = Linkage::read(file).unwrap();
        for version in ["GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_ABI_DT_RELR"] {
            assert!(
                libc.versions_defined.iter().any(|own| own == version),
                "{version}"
            );
        }
        assert_eq!(libc.soname.unwrap(), "libc.so.6");
        assert_eq!(libc.object.machine, 62);
    }

    proptest::proptest! {
        #[test]
        fn noise_never_panics(changes in proptest::collection::vec((0usize..4096, 0u8..), 1..40)) {
            let mut bytes = std::fs::read("/proc/self/exe").unwrap();
            let end = bytes.len() - 4096;
            for (at, value) in changes {
                for place in [at, at + end] {
                    bytes[place] = value;
                }
            }
            let _ = Linkage::read(std::io::Cursor::new(&bytes));
            let _ = symbols(std::io::Cursor::new(&bytes));
        }
    }
}
