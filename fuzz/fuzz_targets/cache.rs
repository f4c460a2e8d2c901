//! Any bytes are a loader's cache or an error, and a cache can be searched, changed and written again.

#![no_main]

use elf::{Cache, CacheEntry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut cache) = Cache::parse(data) else {
        return;
    };
    let _ = cache.starting_with("lib").count();
    check(&cache);
    let Some(first) = cache.entries.first().cloned() else {
        return;
    };
    cache.replace(CacheEntry::new(
        first.name.clone(),
        "/ours".into(),
        first.flags,
    ));
    let found = cache.find(&first.name, first.flags);
    assert!(found.is_some_and(|entry| entry.path == std::path::Path::new("/ours")));
    check(&cache);
});

/// Checks that a written cache has the same entries, in the order that the loader's binary search
/// needs, and is written identically again.
fn check(cache: &Cache) {
    let Some(bytes) = cache.to_bytes() else {
        return;
    };
    let again = Cache::parse(&bytes).expect("what was written can be read");
    assert_eq!(again.entries.len(), cache.entries.len());
    for entry in &cache.entries {
        assert!(again.entries.contains(entry), "{entry:?} is gone");
    }
    assert_eq!(again.to_bytes(), Some(bytes));
}
