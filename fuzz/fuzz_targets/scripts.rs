//! Any text is a script of plain assignments or one for the shell.

#![no_main]

use libfuzzer_sys::fuzz_target;

// `front` is a program, so there is no crate to import.
#[path = "../../crates/front/src/scripts/plain.rs"]
#[allow(dead_code)]
mod plain;

/// The item that `plain` takes from its crate.
mod variables {
    pub type Set = std::collections::BTreeMap<std::ffi::OsString, std::ffi::OsString>;
}

fuzz_target!(|data: &[u8]| {
    let before = variables::Set::from([("PATH".into(), "/bin".into())]);
    let mut set = before.clone();
    let understood = plain::evaluate(data, &mut set, &mut plain::Left::default()).is_some();
    if understood {
        assert!(
            before.keys().all(|name| set.contains_key(name)),
            "a variable is gone"
        );
        for (name, value) in &set {
            let _ = plain::wants_a_shell(value);
            let name = name.to_str().expect("a name is ASCII");
            assert!(
                !name.is_empty() && !name.contains('='),
                "{name:?} is no name"
            );
        }
    }
    if plain::is_idle(data) {
        assert!(
            !understood || set == before,
            "an idle script does something"
        );
    }
});
