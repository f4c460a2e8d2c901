//! Any text is a Dockerfile or has a fault with a place in it; any word is expanded or refused.

#![no_main]

use definition::dockerfile::{Kind, expand, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let value = |name: &str| (name != "N").then(|| format!("<{name}>"));
    let _ = expand(text, '\\', &value);
    match parse(text) {
        Ok(file) => {
            assert!(!file.stages.is_empty(), "no stage");
            for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
                if let Kind::Copy {
                    sources, target, ..
                } = &instruction.kind
                {
                    for word in sources.iter().chain([target]) {
                        let _ = expand(word, file.escape, &value);
                    }
                }
            }
        }
        Err(error) => {
            let lines = text.lines().count().max(1);
            assert!((1..=lines).contains(&error.line), "{error}");
        }
    }
});
