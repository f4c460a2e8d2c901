//! Images in a registry: Debian's own, with and without TLS and passwords, and over connections
//! that fail.

mod access;
mod faults;
mod transfers;

use std::path::Path;
use std::process::{Command, Stdio};

use tests::{Outcome, TestDirectory, succeed};

/// Checks that one line names the fault, and that nothing faulty is in the cache.
pub(crate) fn refused(place: &TestDirectory, outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, 255, "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word}: {outcome:?}");
    }
    assert_eq!(place.kept("images"), [""; 0]);
    for blob in place
        .kept("blobs/sha256")
        .iter()
        .filter(|name| !name.starts_with('.'))
    {
        let path = format!("{}/front/blobs/sha256/{blob}", place.file("cache"));
        let sum = succeed(Command::new("sha256sum").arg(path));
        assert!(sum.starts_with(blob), "a bad entry");
    }
}

/// Adds a few incompressible megabytes to busybox, so that a connection can break in the middle.
pub(crate) fn large(layout: &Path) {
    let home = tempfile::tempdir().unwrap();
    let random = home.path().join("random");
    succeed(Command::new("sh").arg("-c").arg(format!(
        "head -c 8000000 /dev/urandom >{}",
        random.display()
    )));
    let image = format!("{}:localhost/bb:1", layout.display());
    succeed(
        Command::new("umoci")
            .args(["insert", "--image", &image])
            .arg(&random)
            .arg("/random")
            .stderr(Stdio::null()),
    );
}
