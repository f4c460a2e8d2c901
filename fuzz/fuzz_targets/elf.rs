//! Any bytes are an object or an error; `cache` is for the loader's cache.

#![no_main]

use std::io::Cursor;

use elf::{Linkage, Object, symbols};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(object) = Object::parse(data) {
        let _ = elf::flags(&object);
    }
    if let Ok(linkage) = Linkage::read(Cursor::new(data)) {
        let _ = linkage.x86_64_level();
    }
    let _ = symbols(Cursor::new(data));
});
