//! `/etc/ld.so.cache`: which file stands for a library's name.
//!
//! The format is glibc's own, "glibc-ld.so.cache1.1" (`sysdeps/generic/dl-cache.h`): a header of 48
//! bytes, entries of 24 bytes, then the strings. Caches written for old loaders hold the previous
//! format in front ("ld.so-1.7.0"), whose 12-byte entries are stepped over.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// Why bytes are not a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// No known magic, or a header cut short.
    #[error("not an ld.so.cache of glibc's format 1.1")]
    NotACache,
    /// Written on a machine of the other byte order.
    #[error("an ld.so.cache of the other byte order")]
    ByteOrder,
}

/// One line of `ldconfig -p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// The library's name, usually its SONAME: `libcuda.so.1`.
    pub name: OsString,
    /// The file.
    pub path: PathBuf,
}

/// The entries of a cache, in its order, which is the loader's order of preference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cache {
    /// The entries.
    pub entries: Vec<CacheEntry>,
}

impl Cache {
    /// Reads a cache.
    ///
    /// # Errors
    ///
    /// Fails when the bytes are no cache; entries that point outside are left out.
    pub fn parse(bytes: &[u8]) -> Result<Self, CacheError> {
        // Offsets of the new format count from its own header, wherever that stands.
        let cache = new_format(bytes).ok_or(CacheError::NotACache)?;
        let count = u32_at(cache, 20).ok_or(CacheError::NotACache)? as usize;
        // `flags` of the header: 2 is little-endian, 3 big-endian, 0 not said.
        let order = cache.get(28).copied().unwrap_or(0) & 3;
        let foreign = if cfg!(target_endian = "little") { 3 } else { 2 };
        if order == foreign {
            return Err(CacheError::ByteOrder);
        }
        let table = cache.get(HEADER..).unwrap_or_default();
        let entries = table.chunks_exact(ENTRY).take(count).filter_map(|entry| {
            let name = text(cache, u32_at(entry, 4)?)?;
            let path = text(cache, u32_at(entry, 8)?)?;
            Some(CacheEntry {
                name: name.to_owned(),
                path: path.into(),
            })
        });
        Ok(Self {
            entries: entries.collect(),
        })
    }

    /// Returns the entries whose name begins with `prefix`.
    pub fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a CacheEntry> {
        self.entries
            .iter()
            .filter(move |entry| entry.name.as_bytes().starts_with(prefix.as_bytes()))
    }
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
    // The new header is aligned to 8, as its 64-bit fields need.
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
    let end = rest.iter().position(|byte| *byte == 0)?;
    rest.get(..end)
        .filter(|text| !text.is_empty())
        .map(OsStr::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of format 1.1 with these entries, optionally behind an empty one of the old format.
    fn cache(entries: &[(&str, &str)], behind_old: bool) -> Vec<u8> {
        let mut strings = Vec::new();
        let strings_at = HEADER + entries.len() * ENTRY;
        let mut table = Vec::new();
        for (name, path) in entries {
            let mut place = |text: &str| {
                let at = (strings_at + strings.len()) as u32;
                strings.extend_from_slice(text.as_bytes());
                strings.push(0);
                at
            };
            let (name, path) = (place(name), place(path));
            table.extend(
                [0x303u32, name, path, 0, 0, 0]
                    .iter()
                    .flat_map(|n| n.to_ne_bytes()),
            );
        }
        let mut new = MAGIC.to_vec();
        new.extend((entries.len() as u32).to_ne_bytes());
        new.extend((strings.len() as u32).to_ne_bytes());
        new.resize(HEADER, 0);
        new.extend(table);
        new.extend(strings);
        if !behind_old {
            return new;
        }
        let mut old = OLD_MAGIC.to_vec();
        old.extend(0u32.to_ne_bytes());
        old.extend(new);
        old
    }

    #[test]
    fn reads_both_layouts() {
        let entries = [
            ("libcuda.so.1", "/usr/lib/libcuda.so.1"),
            ("libc.so.6", "/lib/libc.so.6"),
        ];
        for behind_old in [false, true] {
            let cache = Cache::parse(&cache(&entries, behind_old)).unwrap();
            let read: Vec<_> = cache
                .entries
                .iter()
                .map(|entry| (entry.name.to_str().unwrap(), entry.path.to_str().unwrap()))
                .collect();
            assert_eq!(read, entries);
            assert_eq!(cache.starting_with("libcuda.so").count(), 1);
        }
    }

    #[test]
    fn refuses_what_is_none() {
        assert_eq!(Cache::parse(b""), Err(CacheError::NotACache));
        assert_eq!(
            Cache::parse(b"ld.so-1.7.0\0\xff\xff\xff\xff"),
            Err(CacheError::NotACache)
        );
        assert_eq!(Cache::parse(MAGIC), Err(CacheError::NotACache));
    }

    /// The hosts that tests run on are glibc's; `ldconfig -p` is the judge.
    #[test]
    fn agrees_with_ldconfig() {
        let Ok(bytes) = std::fs::read("/etc/ld.so.cache") else {
            return;
        };
        let ours: Vec<String> = Cache::parse(&bytes)
            .unwrap()
            .entries
            .iter()
            .map(|entry| format!("{} => {}", entry.name.display(), entry.path.display()))
            .collect();
        let output = std::process::Command::new("/sbin/ldconfig")
            .arg("-p")
            .output()
            .unwrap();
        let theirs: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| {
                let (name, path) = line.trim().split_once(" => ")?;
                Some(format!("{} => {path}", name.split(' ').next()?))
            })
            .collect();
        assert_eq!(ours, theirs);
    }

    proptest::proptest! {
        #[test]
        fn noise_never_panics(changes in proptest::collection::vec((0usize..200, 0u8..), 1..30)) {
            let mut bytes = cache(&[("liba.so", "/lib/liba.so"), ("libb.so", "/lib/libb.so")], true);
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            let _ = Cache::parse(&bytes);
        }
    }
}
