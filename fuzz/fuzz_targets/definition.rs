//! Any text is a definition file or has a fault with a place in it.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let arguments = BTreeMap::from([("A".to_owned(), "{{ B }}\nb".to_owned())]);
    match definition::parse(text, &arguments) {
        Ok(file) => {
            assert!(!file.stages.is_empty(), "no stage");
            for stage in &file.stages {
                for app in &stage.apps {
                    assert!(
                        !app.name.contains('/') && app.name != "..",
                        "{:?}",
                        app.name
                    );
                }
                for script in [&stage.post, &stage.environment].into_iter().flatten() {
                    assert_eq!(script.text.lines().count(), script.numbers.len());
                }
            }
        }
        Err(error) => {
            let lines = text.lines().count().max(1);
            assert!((1..=lines).contains(&error.line), "{error}");
            assert!(error.column >= 1, "{error}");
        }
    }
    let _ = definition::labels(text);
});
