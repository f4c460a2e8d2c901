//! Any bytes are a file of credentials or an error; what is written into one is found again.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use registry::{Credentials, Login};
use tempfile::TempDir;

static DIRECTORY: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary directory"));

fuzz_target!(
    init: {
        // A file may name programs that know credentials: none is found here.
        // SAFETY: nothing else runs yet.
        unsafe { std::env::set_var("PATH", "/nonexistent") };
    },
    |data: &[u8]| {
        let path: PathBuf = DIRECTORY.path().join("config.json");
        fs::write(&path, data).expect("room for it");
        let credentials = Credentials {
            given: None,
            files: vec![path.clone()],
        };
        for registry in ["docker.io", "localhost:5000", "quay.io"] {
            let _ = credentials.find(registry);
        }
        let known = Login::known(&path);
        let login = Login {
            user: "u".to_owned(),
            password: "p:w".to_owned(),
        };
        if login.save(&path, "quay.io").is_err() {
            assert!(known.is_err() || serde_json::from_slice::<serde_json::Value>(data).is_ok());
            return;
        }
        let known = Login::known(&path).expect("what was written can be read");
        assert!(known.iter().any(|name| name == "quay.io"));
        assert!(Login::forget(&path, "quay.io").expect("what was written can be changed"));
        assert!(!Login::forget(&path, "quay.io").expect("what was written can be changed"));
    }
);
