//! Changes to images, and root inside, as an ordinary user: `--writable`, `--writable-tmpfs`,
//! `--overlay`, `--fakeroot`. No helper program is on the `PATH`, unless a test says so.

mod fakeroot;
mod overlays;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tests::{as_tester, fixture, program};

/// Returns an empty directory that the ordinary user may write to.
pub(crate) fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    directory
}

/// Returns a shell of the ordinary user in a directory, to which `front` is known as `$front`, and
/// images as `$bb`, `$dir` and `$py`. No program of the host is found by its name.
pub(crate) fn shell(directory: &tempfile::TempDir, words: &str) -> Command {
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
