//! Any bytes are a SIF or an error, and a SIF can be written again.

#![no_main]

use std::fs::File;
use std::io::Write;

use libfuzzer_sys::fuzz_target;
use sif::Sif;

fuzz_target!(|data: &[u8]| {
    let mut file: File = tempfile::tempfile().expect("a temporary file");
    file.write_all(data).expect("room for it");
    let Ok(mut sif) = Sif::read(&file) else {
        return;
    };
    let _ = sif.primary();
    let ids: Vec<u32> = sif.descriptors.iter().map(|one| one.id).collect();
    // Data that lie within the file have a size that can be zeroed.
    for id in ids.into_iter().take(2) {
        let _ = sif.set_primary(&file, id, 0);
        let _ = sif.delete(&file, id, 0);
    }
});
