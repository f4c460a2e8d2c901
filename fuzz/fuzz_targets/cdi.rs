//! Any text is a CDI file or an error, and the edits of each listed device are found.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use cdi::{Name, Registry};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary directory"));

// The first byte selects the language of the rest.
fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Name::parse(text);
    }
    let Some((language, text)) = data.split_first() else {
        return;
    };
    let names = [["a.json", "a.yaml"], ["a.yaml", "a.json"]][usize::from(language % 2)];
    let [path, other]: [PathBuf; 2] = names.map(|name| DIRECTORY.path().join(name));
    let _ = fs::remove_file(other);
    fs::write(&path, text).expect("room for it");
    let registry = Registry::read(&[DIRECTORY.path().to_owned()]);
    let names = registry.names();
    assert_eq!(registry.broken().is_empty(), !names.is_empty());
    let parsed = names
        .iter()
        .map(|name| Name::parse(name).expect("a name that is listed"));
    let parsed: Vec<Name> = parsed.collect();
    let all = registry.edits(&parsed).expect("one file has no conflicts");
    // The edits are the same after they are written and read again.
    let text = serde_json::to_string(&all).expect("text");
    let again: cdi::ContainerEdits =
        serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(again, all);
});
