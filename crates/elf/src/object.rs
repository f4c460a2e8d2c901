//! The header of an ELF object, which states the machine that the object is for.
//!
//! Layout: System V gABI, chapter 4, "ELF header".

/// Why bytes are not an ELF object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The magic is missing, or the header is truncated.
    #[error("not an ELF object")]
    NotElf,
    /// The class or the byte order has an undefined value.
    #[error("ELF object of unknown class or byte order")]
    UnknownKind,
    /// A table points outside of the file, or exceeds a limit.
    #[error("damaged ELF object: {0}")]
    Damaged(String),
}

/// The word size of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 32-bit.
    Elf32,
    /// 64-bit.
    Elf64,
}

/// The kind of machine that an object is for. Objects with equal values can be loaded into one
/// process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// The word size.
    pub class: Class,
    /// Whether numbers are little-endian.
    pub little_endian: bool,
    /// `e_machine`: 62 is x86-64, 183 AArch64, 3 i386.
    pub machine: u16,
}

impl Object {
    /// Number of bytes that [`Object::parse`] needs.
    pub const HEAD: usize = 20;

    /// Reads the first bytes of a file.
    ///
    /// # Errors
    ///
    /// Fails when they are not those of an ELF object.
    pub fn parse(head: &[u8]) -> Result<Self, ObjectError> {
        let head: &[u8; Self::HEAD] = head.first_chunk().ok_or(ObjectError::NotElf)?;
        let [0x7f, b'E', b'L', b'F', class, order, ..] = *head else {
            return Err(ObjectError::NotElf);
        };
        let class = match class {
            1 => Class::Elf32,
            2 => Class::Elf64,
            _ => return Err(ObjectError::UnknownKind),
        };
        let [.., a, b] = *head;
        let (little_endian, machine) = match order {
            1 => (true, u16::from_le_bytes([a, b])),
            2 => (false, u16::from_be_bytes([a, b])),
            _ => return Err(ObjectError::UnknownKind),
        };
        Ok(Self {
            class,
            little_endian,
            machine,
        })
    }

    /// Returns the 32-bit machine that the processor can run too: i386 for x86-64.
    #[must_use]
    pub fn of_32_bits(self) -> Option<Self> {
        (self.class == Class::Elf64 && self.machine == 62).then_some(Self {
            class: Class::Elf32,
            machine: 3,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_machines_apart() {
        let mut head = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
        let object = Object::parse(&head).unwrap();
        assert_eq!(
            (object.class, object.little_endian, object.machine),
            (Class::Elf64, true, 62)
        );
        head[5] = 2;
        assert_eq!(Object::parse(&head).unwrap().machine, 0x3e00);
        head[4] = 7;
        assert_eq!(Object::parse(&head), Err(ObjectError::UnknownKind));
        assert_eq!(Object::parse(b"#!/bin/sh\n"), Err(ObjectError::NotElf));
    }

    #[test]
    fn reads_this_very_program() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        assert!(Object::parse(&program).is_ok());
    }
}
