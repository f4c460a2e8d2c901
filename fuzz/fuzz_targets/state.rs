//! Any files of a container's state are a container that can be described, or an error. Any message
//! of a runtime to a hook is a container or an error.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use engine::Container;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tempfile::TempDir;

#[path = "../../hooks/src/error.rs"]
#[allow(dead_code)]
mod error;
#[path = "../../hooks/src/container.rs"]
#[allow(dead_code)]
mod hook;

use error::Error;

static ROOT: LazyLock<TempDir> = LazyLock::new(|| {
    let root = tempfile::tempdir().expect("a temporary directory");
    for directory in ["c1", ".bundles/c1"] {
        fs::create_dir_all(root.path().join(directory)).expect("a directory");
    }
    root
});

// Three documents with zero bytes between them: the state, the settings, the specification.
fuzz_target!(|data: &[u8]| {
    let mut documents = data.splitn(3, |byte| *byte == 0);
    let mut next = || documents.next().unwrap_or_default();
    let (state, settings, specification) = (next(), next(), next());
    let place = |name: &str| -> PathBuf { ROOT.path().join(name) };
    fs::write(place("c1/state.json"), state).expect("room for it");
    fs::write(place("c1/youki_config.json"), settings).expect("room for it");
    fs::write(place(".bundles/c1/config.json"), specification).expect("room for it");
    let container = Container::load(ROOT.path(), "c1").expect("its directory is there");
    let _ = container.pid();
    let _ = container.document();
    serde_json::to_string(&container.state()).expect("a state is text");
    for container in engine::list(ROOT.path()).expect("the root can be read") {
        let _ = container.status();
    }
    hooked(state);
});

/// Reads a hook's container. A hook reads the bundle that the state names; it is always ours here,
/// so that nothing else is opened.
fn hooked(state: &[u8]) {
    let Ok(mut state) = serde_json::from_slice::<Value>(state) else {
        return;
    };
    if let Some(bundle) = state.get_mut("bundle") {
        *bundle = ROOT.path().join(".bundles/c1").display().to_string().into();
    }
    if let Ok(container) = hook::Container::from_state(state.to_string().as_bytes()) {
        let _ = container.variable("PATH");
        let _ = container.variables("NVIDIA_").count();
        let _ = container.annotation("a");
    }
}
