//! Any argument is a list of binds or an error, and no destination is relative or leads upwards.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Component;

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/bundle/src/bind.rs"]
mod bind;
#[path = "../../crates/bundle/src/error.rs"]
#[allow(dead_code)]
mod error;

use error::Error;

fuzz_target!(|data: &[u8]| {
    let Ok(binds) = bind::parse_binds(OsStr::from_bytes(data)) else {
        return;
    };
    for bind in binds {
        assert!(!bind.source.as_os_str().is_empty(), "a bind of nothing");
        let Some(destination) = &bind.destination else {
            continue;
        };
        assert!(destination.is_absolute(), "{destination:?}");
        let mut components = destination.components();
        assert!(components.all(|one| matches!(one, Component::RootDir | Component::Normal(_))));
    }
});
