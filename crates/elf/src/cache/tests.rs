use super::*;

/// Makes a cache of format 1.1 with these entries, optionally behind an empty cache of the old
/// format.
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

/// The tests run on hosts with glibc, so the result must equal the output of `ldconfig -p`.
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

/// Entries may share a string: a small file must not use up the memory.
#[test]
fn what_is_kept_has_an_end() {
    let count = 1 << 16;
    let at = (HEADER + count * ENTRY) as u32;
    let mut bytes = MAGIC.to_vec();
    bytes.extend((count as u32).to_ne_bytes());
    bytes.resize(HEADER, 0);
    for _ in 0..count {
        bytes.extend(
            [0x303u32, at, at, 0, 0, 0]
                .iter()
                .flat_map(|n| n.to_ne_bytes()),
        );
    }
    bytes.extend([b'x'; 4000]);
    bytes.push(0);
    let kept = Cache::parse(&bytes).unwrap().entries;
    let size: usize = kept
        .iter()
        .map(|entry| entry.name.len() + entry.path.as_os_str().len())
        .sum();
    assert!(!kept.is_empty() && size <= KEPT, "{size}");
}

/// glibc's own tool must read the written cache, in the same order.
#[test]
fn ldconfig_reads_what_is_written() {
    let Ok(bytes) = std::fs::read("/etc/ld.so.cache") else {
        return;
    };
    let mut cache = Cache::parse(&bytes).unwrap();
    let libc = cache.entries.iter().find(|entry| entry.name == "libc.so.6");
    let flags = libc.unwrap().flags;
    let names = [
        "libcuda.so.1",
        "libc.so.6",
        "liba9.so",
        "liba10.so",
        "zz",
        "lib\u{e9}.so",
    ];
    for name in names {
        let path = PathBuf::from("/ours").join(name);
        cache.replace(CacheEntry::new(name.into(), path, flags));
    }
    let written = cache.to_bytes().unwrap();
    let again = Cache::parse(&written).unwrap();
    assert_eq!(again.hwcaps, cache.hwcaps);
    assert_eq!(again.entries.len(), cache.entries.len());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &written).unwrap();
    let output = std::process::Command::new("/sbin/ldconfig")
        .arg("-p")
        .arg("-C")
        .arg(file.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let listed = text.lines().filter(|line| line.contains(" => ")).count();
    assert_eq!(listed, again.entries.len(), "{text}");
    for name in names {
        assert!(
            text.contains(&format!(" => /ours/{name}")),
            "{name}: {text}"
        );
        let found = again.find(OsStr::new(name), flags).unwrap();
        assert!(found.path.starts_with("/ours"));
    }
}

#[test]
fn names_are_in_the_loaders_order() {
    let rows = [
        ("liba.so.9", "liba.so.10", Ordering::Less),
        ("liba.so", "liba.so.1", Ordering::Less),
        ("liba1.so", "libab.so", Ordering::Greater),
        ("libb.so", "liba.so", Ordering::Greater),
        ("liba.so.01", "liba.so.1", Ordering::Equal),
        ("", "a", Ordering::Less),
    ];
    for (a, b, order) in rows {
        assert_eq!(compare(a.as_bytes(), b.as_bytes()), order, "{a} {b}");
        assert_eq!(
            compare(b.as_bytes(), a.as_bytes()),
            order.reverse(),
            "{b} {a}"
        );
    }
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
        if let Ok(cache) = Cache::parse(&bytes) {
            let _ = cache.to_bytes();
        }
    }
}
