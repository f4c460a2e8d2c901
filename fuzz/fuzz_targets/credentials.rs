//! Any bytes are a file of credentials or an error; what is written into one is found again.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

#[path = "../../crates/registry/src/credentials.rs"]
#[allow(dead_code)]
mod credentials;

// The items that the module takes from its crate, and from the client.
extern crate self as oci_client;

/// Why there are no credentials.
#[derive(Debug)]
#[allow(dead_code)]
enum Error {
    Credentials { host: String, reason: String },
}

/// The client's type for credentials.
pub mod secrets {
    #[allow(missing_docs)]
    pub enum RegistryAuth {
        Anonymous,
        Basic(String, String),
    }
}

use credentials::{Credentials, Login};

static DIRECTORY: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary directory"));

fuzz_target!(
    init: {
        // A file may name programs that know credentials: with this path, none is found.
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
        let login = Login {
            user: "u".to_owned(),
            password: "p:w".to_owned(),
        };
        let known = Login::known(&path);
        if login.save(&path, "quay.io").is_err() {
            assert!(known.is_err(), "a file that can be read cannot be changed");
            return;
        }
        let known = Login::known(&path).expect("what was written can be read");
        assert!(known.iter().any(|name| name == "quay.io"));
        let found = Credentials { given: None, files: vec![path.clone()] }.find_in_files("quay.io");
        // A helper that the file names would come first; there is none.
        assert!(!matches!(found, Ok(Some(other)) if other != login), "another's credentials");
        assert!(Login::forget(&path, "quay.io").expect("what was written can be changed"));
        assert!(!Login::forget(&path, "quay.io").expect("what was written can be changed"));
    }
);
