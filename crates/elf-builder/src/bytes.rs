//! The layout of a file: the header, the sections, and the table of the sections.

/// Size of the file's header, and of an entry of the table.
const HEADER: usize = 64;
const ENTRY: u16 = 64;

/// Index of the section with the sections' names, all of which are empty.
const NAMES: u16 = 1;

/// A section.
pub(crate) struct Section {
    kind: u32,
    link: u32,
    entry: u64,
    content: Vec<u8>,
}

impl Section {
    /// Returns a section with the index of the section that it refers to, and with the size of its
    /// entries.
    pub(crate) fn new(kind: u32, link: u32, entry: u64, content: Vec<u8>) -> Self {
        Self {
            kind,
            link,
            entry,
            content,
        }
    }
}

fn number(size: usize) -> u64 {
    u64::try_from(size).unwrap()
}

/// Returns the bytes of a shared object for x86-64 with these sections.
pub(crate) fn file(sections: &[Section]) -> Vec<u8> {
    let mut content = Vec::new();
    // The first entry of the table is empty.
    let mut table = vec![0; usize::from(ENTRY)];
    for section in sections {
        content.resize(content.len().next_multiple_of(8), 0);
        table.extend(0_u32.to_le_bytes());
        table.extend(section.kind.to_le_bytes());
        table.extend([0; 16]);
        table.extend(number(HEADER + content.len()).to_le_bytes());
        table.extend(number(section.content.len()).to_le_bytes());
        table.extend(section.link.to_le_bytes());
        // The index of the first global symbol, in a table of symbols.
        table.extend(1_u32.to_le_bytes());
        table.extend(8_u64.to_le_bytes());
        table.extend(section.entry.to_le_bytes());
        content.extend(&section.content);
    }
    content.resize(content.len().next_multiple_of(8), 0);
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // ET_DYN and EM_X86_64.
    bytes.extend(3_u16.to_le_bytes());
    bytes.extend(62_u16.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend([0; 16]);
    bytes.extend(number(HEADER + content.len()).to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    let count = u16::try_from(sections.len() + 1).unwrap();
    for half in [64, 56, 0, ENTRY, count, NAMES] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(content);
    bytes.extend(table);
    bytes
}
