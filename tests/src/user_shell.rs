//! A shell of the ordinary user, for tests whose command lines are those of the documentation.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::{as_tester, fixture, program};

/// Returns an empty directory that the ordinary user may write to.
///
/// # Panics
///
/// Panics when it cannot be made.
#[must_use]
pub fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/var/tmp").expect("there is room");
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(directory.path(), open).expect("it is ours");
    directory
}

/// Returns a shell of the ordinary user in a directory, to which `front` is known as `$front`, and
/// images as `$bb`, `$dir` and `$py`. No program of the host is found by its name.
#[must_use]
pub fn user_shell(directory: &tempfile::TempDir, words: &str) -> Command {
    let mut command = as_tester("/bin/sh");
    command
        .args(["-c", words])
        .env("PATH", "/nonexistent")
        .env("front", program("front"))
        .env("bb", fixture("bb.sif"))
        .env("dir", fixture("bb"))
        .env("py", fixture("py.sif"))
        .current_dir(directory.path());
    command
}
