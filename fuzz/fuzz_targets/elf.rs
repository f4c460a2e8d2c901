//! Any bytes are an object or an error, a loader's cache or an error, and a cache can be written again:
//! `cargo fuzz run elf`.

#![no_main]

use std::io::Cursor;

use elf::{Cache, Linkage, Object, symbols};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Object::parse(data);
    if let Ok(linkage) = Linkage::read(Cursor::new(data)) {
        let _ = linkage.x86_64_level();
    }
    let _ = symbols(Cursor::new(data));
    if let Ok(cache) = Cache::parse(data)
        && let Some(bytes) = cache.to_bytes()
    {
        let again = Cache::parse(&bytes).expect("what was written can be read");
        assert_eq!(again.entries.len(), cache.entries.len());
    }
});
