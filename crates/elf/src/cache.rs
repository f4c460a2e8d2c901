//! Reading and writing `/etc/ld.so.cache`, which maps the names of libraries to files.
//!
//! The format is glibc's own, "glibc-ld.so.cache1.1" (`sysdeps/generic/dl-cache.h`): a header of 48
//! bytes, entries of 24 bytes, then the strings and, since glibc 2.33, extensions. Caches written
//! for old loaders begin with the previous format ("ld.so-1.7.0"), whose 12-byte entries are
//! skipped. Every loader since 2.2 accepts a cache without the previous format.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::object::Object;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// Longest string that is read, in bytes: the limit of a path.
const LONGEST: usize = 4096;
/// Largest total size of the names and paths of a cache, in bytes. The largest known caches have a
/// tenth of it.
const KEPT: usize = 16 << 20;

/// `cache_extension_magic`.
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
/// `cache_extension_tag_glibc_hwcaps`: the offsets of the names of glibc-hwcaps subdirectories.
const HWCAPS_TAG: u32 = 1;

/// Why bytes are not a cache that we can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The bytes have no known magic, or the header is truncated.
    #[error("not an ld.so.cache of glibc's format 1.1")]
    NotACache,
    /// The cache was written on a machine with the other byte order.
    #[error("an ld.so.cache of the other byte order")]
    ByteOrder,
}

/// An entry of the cache: one line of `ldconfig -p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// The library's name, usually its SONAME: `libcuda.so.1`.
    pub name: OsString,
    /// The path of the library's file.
    pub path: PathBuf,
    /// The kind of loader that the entry is for; see [`flags`].
    pub flags: u32,
    /// The oldest kernel that the library supports. Only old loaders check it.
    os_version: u32,
    /// The processors that the entry is for, 0 for all. With bit 62 set, the low half is the number
    /// of a glibc-hwcaps subdirectory.
    hwcap: u64,
}

impl CacheEntry {
    /// Returns an entry for every processor.
    #[must_use]
    pub fn new(name: OsString, path: PathBuf, flags: u32) -> Self {
        Self {
            name,
            path,
            flags,
            os_version: 0,
            hwcap: 0,
        }
    }

    /// Whether the entry is only for processors with certain features.
    #[must_use]
    pub fn is_special(&self) -> bool {
        self.hwcap != 0
    }
}

/// Returns the flags of the entries that a machine's loader accepts: `FLAG_ELF_LIBC6` and the
/// machine's own bits of `sysdeps/generic/ldconfig.h`. Returns `None` for an unknown machine.
#[must_use]
pub fn flags(object: &Object) -> Option<u32> {
    use crate::Class::{Elf32, Elf64};
    Some(match (object.class, object.little_endian, object.machine) {
        (Elf32, true, 3) => 0x0003,
        (Elf64, true, 62) => 0x0303,
        (Elf64, true, 183) => 0x0a03,
        (Elf64, true, 21) => 0x0503,
        (Elf64, false, 22) => 0x0403,
        _ => return None,
    })
}

/// A cache. The order of its entries is the loader's order of preference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cache {
    /// The entries.
    pub entries: Vec<CacheEntry>,
    /// The names of the glibc-hwcaps subdirectories, by the numbers that the entries use.
    hwcaps: Vec<OsString>,
}

impl Cache {
    /// Reads a cache. Entries that point outside of the cache are left out.
    ///
    /// # Errors
    ///
    /// Fails when the bytes are not a cache of this format.
    pub fn parse(bytes: &[u8]) -> Result<Self, CacheError> {
        // Offsets of the new format count from its own header, which may follow the old format.
        let cache = new_format(bytes).ok_or(CacheError::NotACache)?;
        let count = u32_at(cache, 20).ok_or(CacheError::NotACache)? as usize;
        // The header's `flags`: 2 is little-endian, 3 big-endian, 0 unspecified.
        let order = cache.get(28).copied().unwrap_or(0) & 3;
        let foreign = if cfg!(target_endian = "little") { 3 } else { 2 };
        if order == foreign {
            return Err(CacheError::ByteOrder);
        }
        let table = cache.get(HEADER..).unwrap_or_default();
        // Entries may share a string, so a small file could expand to a very large cache.
        let mut left = KEPT;
        let entries = table.chunks_exact(ENTRY).take(count).filter_map(|entry| {
            let name = text(cache, u32_at(entry, 4)?)?;
            let path = text(cache, u32_at(entry, 8)?)?;
            left = left.checked_sub(name.len() + path.len())?;
            let hwcap = entry.get(16..)?.first_chunk()?;
            Some(CacheEntry {
                name: name.to_owned(),
                path: path.into(),
                flags: u32_at(entry, 0)?,
                os_version: u32_at(entry, 12)?,
                hwcap: u64::from_ne_bytes(*hwcap),
            })
        });
        let entries = entries.collect();
        // Without these names, no loader uses the entries for the subdirectories.
        let hwcaps = hwcaps(cache).unwrap_or_default();
        Ok(Self { entries, hwcaps })
    }

    /// Returns the entries whose name begins with `prefix`.
    pub fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a CacheEntry> {
        self.entries
            .iter()
            .filter(move |entry| entry.name.as_bytes().starts_with(prefix.as_bytes()))
    }

    /// Returns the entry that a loader with these flags uses for a name. Entries for every
    /// processor are preferred.
    #[must_use]
    pub fn find(&self, name: &OsStr, flags: u32) -> Option<&CacheEntry> {
        let fits = |entry: &&CacheEntry| entry.name == name && entry.flags == flags;
        let plain = |entry: &&CacheEntry| !entry.is_special();
        let mut fitting = self.entries.iter().filter(fits);
        fitting.clone().find(plain).or_else(|| fitting.next())
    }

    /// Adds an entry, which replaces all entries with the same name and flags.
    pub fn replace(&mut self, entry: CacheEntry) {
        self.entries
            .retain(|other| other.name != entry.name || other.flags != entry.flags);
        self.entries.push(entry);
    }

    /// Returns the bytes of the cache's file.
    ///
    /// Returns `None` when the cache does not fit into the format, whose offsets have 32 bits.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut entries: Vec<&CacheEntry> = self.entries.iter().collect();
        // The sort is stable: entries with the same name stay in the loader's order of preference.
        entries.sort_by(|a, b| compare(b.name.as_bytes(), a.name.as_bytes()));
        let start = HEADER.checked_add(entries.len().checked_mul(ENTRY)?)?;
        let mut strings = Strings::new(start);
        let mut table = Vec::new();
        for entry in &entries {
            let (name, path) = (
                strings.place(entry.name.as_bytes())?,
                strings.place(entry.path.as_os_str().as_bytes())?,
            );
            for number in [entry.flags, name, path, entry.os_version] {
                table.extend(number.to_ne_bytes());
            }
            table.extend(entry.hwcap.to_ne_bytes());
        }
        let names = self.hwcaps.iter();
        let hwcaps: Vec<u32> = names
            .map(|name| strings.place(name.as_bytes()))
            .collect::<Option<_>>()?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u32::try_from(entries.len()).ok()?.to_ne_bytes());
        bytes.extend(u32::try_from(strings.bytes.len()).ok()?.to_ne_bytes());
        bytes.push(if cfg!(target_endian = "little") { 2 } else { 3 });
        bytes.resize(32, 0);
        let end = start.checked_add(strings.bytes.len())?;
        let extension = end.checked_next_multiple_of(4)?;
        if !hwcaps.is_empty() {
            bytes.extend(u32::try_from(extension).ok()?.to_ne_bytes());
        }
        bytes.resize(HEADER, 0);
        bytes.extend(table);
        bytes.extend(strings.bytes);
        if !hwcaps.is_empty() {
            bytes.resize(extension, 0);
            let (count, size) = (1u32, u32::try_from(hwcaps.len() * 4).ok()?);
            let at = u32::try_from(extension.checked_add(24)?).ok()?;
            for number in [EXTENSION_MAGIC, count, HWCAPS_TAG, 0, at, size] {
                bytes.extend(number.to_ne_bytes());
            }
            bytes.extend(hwcaps.iter().flat_map(|offset| offset.to_ne_bytes()));
        }
        Some(bytes)
    }
}

/// The strings of a cache that is being written. Each string is stored once.
struct Strings<'a> {
    start: usize,
    bytes: Vec<u8>,
    known: HashMap<&'a [u8], u32>,
}

impl<'a> Strings<'a> {
    fn new(start: usize) -> Self {
        Self {
            start,
            bytes: Vec::new(),
            known: HashMap::new(),
        }
    }

    fn place(&mut self, text: &'a [u8]) -> Option<u32> {
        if let Some(at) = self.known.get(text) {
            return Some(*at);
        }
        let at = u32::try_from(self.start.checked_add(self.bytes.len())?).ok()?;
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
        self.known.insert(text, at);
        Some(at)
    }
}

/// Compares names as the loader's binary search does, `_dl_cache_libcmp` of `elf/dl-cache.c`: runs
/// of digits count as numbers, which wrap like C's `int`. The cache is sorted by this order in
/// reverse.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let number = |text: &mut &[u8]| {
        let mut value = 0i32;
        while let Some((digit, rest)) = text.split_first().filter(|(byte, _)| byte.is_ascii_digit())
        {
            value = value.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'));
            *text = rest;
        }
        value
    };
    // C's strings end with a zero byte, and `char` is signed here.
    let first = |text: &[u8]| text.first().map_or(0, |byte| byte.cast_signed());
    loop {
        match (first(a), first(b)) {
            (0, other) => return 0.cmp(&other),
            (x, y) if x.cast_unsigned().is_ascii_digit() && y.cast_unsigned().is_ascii_digit() => {
                match number(&mut a).cmp(&number(&mut b)) {
                    Ordering::Equal => {}
                    order => return order,
                }
            }
            (x, _) if x.cast_unsigned().is_ascii_digit() => return Ordering::Greater,
            (_, y) if y.cast_unsigned().is_ascii_digit() => return Ordering::Less,
            (x, y) if x != y => return x.cmp(&y),
            _ => {
                a = a.get(1..).unwrap_or_default();
                b = b.get(1..).unwrap_or_default();
            }
        }
    }
}

/// Reads the names of the glibc-hwcaps subdirectories (`struct cache_extension`).
fn hwcaps(cache: &[u8]) -> Option<Vec<OsString>> {
    let extension = cache.get(u32_at(cache, 32)? as usize..)?;
    if u32_at(cache, 32)? == 0 || u32_at(extension, 0)? != EXTENSION_MAGIC {
        return None;
    }
    let sections = extension.get(8..)?.chunks_exact(16);
    let mut sections = sections.take(u32_at(extension, 4)? as usize);
    let section = sections.find(|section| u32_at(section, 0) == Some(HWCAPS_TAG))?;
    let (at, size) = (u32_at(section, 8)? as usize, u32_at(section, 12)? as usize);
    let offsets = cache.get(at..at.checked_add(size)?)?.chunks_exact(4);
    let names = offsets.map(|offset| text(cache, u32_at(offset, 0)?).map(OsStr::to_owned));
    names.collect()
}

fn new_format(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.starts_with(MAGIC) {
        return Some(bytes);
    }
    if !bytes.starts_with(OLD_MAGIC) {
        return None;
    }
    let count = u32_at(bytes, OLD_MAGIC.len())? as usize;
    let end = count.checked_mul(OLD_ENTRY)?.checked_add(OLD_HEADER)?;
    // The new header is aligned to 8 bytes because of its 64-bit fields.
    bytes
        .get(end.checked_next_multiple_of(8)?..)
        .filter(|rest| rest.starts_with(MAGIC))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|four| u32::from_ne_bytes(*four))
}

fn text(bytes: &[u8], at: u32) -> Option<&OsStr> {
    let rest = bytes.get(at as usize..)?;
    let end = rest.iter().take(LONGEST).position(|byte| *byte == 0)?;
    rest.get(..end)
        .filter(|text| !text.is_empty())
        .map(OsStr::from_bytes)
}

#[cfg(test)]
mod tests;
