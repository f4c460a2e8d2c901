//! Helpers for the end-to-end tests: the programs, the fixtures, and an ordinary user to run as.
//!
//! `make test` prepares everything. A test that lacks something fails with a message.

#![forbid(unsafe_code)]

mod bundle;
mod card;
mod cluster;
mod daemon;
mod faults;
mod fresh;
mod gpu;
mod guest;
mod launcher;
mod layout;
mod nodes;
mod podman;
mod registry;
mod saved;
mod test_directory;
mod user_shell;

pub use bundle::{Bundle, UNIFIED};
pub use card::Card;
pub use cluster::Cluster;
pub use daemon::Daemon;
pub use faults::{Fault, Faulty};
pub use gpu::{front_in, nvidia_driver, rocm_driver, small_glibc};
pub use guest::in_guest;
pub use launcher::{Launcher, Wireup};
pub use layout::{Member, layer, layout};
pub use nodes::Nodes;
pub use podman::{in_container, keep_below};
pub use registry::Registry;
pub use saved::saved;
pub use test_directory::{TestDirectory, is_bb};
pub use user_shell::{open_directory, user_shell};

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The ordinary user.
pub const TESTER: &str = "slipway-tester";

/// Returns a path that `make test` prepared.
///
/// # Panics
///
/// Panics when the path does not exist.
#[must_use]
pub fn prepared(variable: &str, default: &str, name: &str) -> PathBuf {
    let directory =
        std::env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from);
    let path = directory.join(name);
    assert!(
        path.exists(),
        "{} is missing; run `make test`, which prepares it",
        path.display()
    );
    path
}

/// Returns a fixture by name.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    prepared("SLIPWAY_FIXTURES", "/var/tmp/slipway-fixtures", name)
}

/// Returns the file of the release whose name has this ending.
///
/// # Panics
///
/// Panics when there is none.
#[must_use]
pub fn release_file(ending: &str) -> PathBuf {
    let directory = prepared("SLIPWAY_BIN", "/var/tmp/slipway-bin", "release");
    let files = fs::read_dir(&directory).expect("it is a directory");
    let mut paths = files.flatten().map(|entry| entry.path());
    paths
        .find(|path| path.to_string_lossy().ends_with(ending))
        .unwrap_or_else(|| panic!("{} has no {ending}", directory.display()))
}

/// Returns a new directory that everybody may enter, even if `/tmp` is replaced.
///
/// # Panics
///
/// Panics when there is no room.
#[must_use]
pub fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir_in("/var/tmp").expect("there is room");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    home
}

/// Packs the busybox fixture into `directory`, in the form that an engine imports.
///
/// # Panics
///
/// Panics when it cannot be packed.
#[must_use]
pub fn archive(directory: &Path) -> PathBuf {
    let tar = directory.join("bb.tar");
    let mut pack = Command::new("tar");
    succeed(
        pack.arg("-C")
            .arg(fixture("bb"))
            .arg("-cf")
            .arg(&tar)
            .arg("."),
    );
    tar
}

/// Returns a program under test.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let program = prepared("SLIPWAY_BIN", "/var/tmp/slipway-bin", name);
    // Only Rust's programs are checked; a test may use another.
    if name == "front" || name.starts_with("slipway") {
        fresh::check(&program);
    }
    program
}

/// Returns the ordinary user's id, which is also that of their group.
///
/// # Panics
///
/// Panics when there is no such user.
#[must_use]
pub fn tester() -> u32 {
    let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
    let line = passwd
        .lines()
        .find(|line| line.starts_with(&format!("{TESTER}:")));
    let number = line.and_then(|line| line.split(':').nth(2)?.parse().ok());
    number.unwrap_or_else(|| panic!("there is no user {TESTER}; run `make test`"))
}

/// Returns a command that runs as the ordinary user, in their home, with a small environment.
#[must_use]
pub fn as_tester(program: impl AsRef<OsStr>) -> Command {
    let uid = tester();
    let home = format!("/home/{TESTER}");
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", &home)
        .env("USER", TESTER)
        .env("TERM", "dumb")
        .current_dir(&home)
        .stdin(Stdio::null())
        .uid(uid)
        .gid(uid);
    command
}

/// Returns `front` with arguments, as the ordinary user.
#[must_use]
pub fn front<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Command {
    let mut command = as_tester(program("front"));
    command.args(args);
    command
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
    /// The exit code, or 128 plus the signal.
    pub code: i32,
    /// The signal that ended the command.
    pub signal: Option<i32>,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let signal = output.status.signal();
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output
                .status
                .code()
                .unwrap_or_else(|| 128 + signal.unwrap_or(0)),
            signal,
        }
    }
}

/// Runs a command to its end.
///
/// # Panics
///
/// Panics when the command cannot be started.
pub fn run(command: &mut Command) -> Outcome {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
        .into()
}

/// Runs a command with `input`.
///
/// # Panics
///
/// Panics when the command cannot be started.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("there is a pipe");
    // A command need not read all of its input.
    let _ = stdin.write_all(input);
    drop(stdin);
    child
        .wait_with_output()
        .expect("the child can be waited for")
        .into()
}

/// Runs a command that must succeed, and returns its standard output.
///
/// # Panics
///
/// Panics when the command fails.
pub fn succeed(command: &mut Command) -> String {
    let outcome = run(command);
    assert_eq!(outcome.code, 0, "{command:?}: {outcome:#?}");
    outcome.stdout
}

/// Waits until `condition` holds.
///
/// # Panics
///
/// Panics when the condition does not hold within `limit`.
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills a child when dropped.
#[derive(Debug)]
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the processes of the ordinary user, by id and name, that are not zombies.
#[must_use]
pub fn testers_processes() -> Vec<(u32, String)> {
    use std::os::unix::fs::MetadataExt;
    let uid = tester();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.uid() == uid))
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let field = |name: &str| {
                status
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::trim)
            };
            (!field("State:")?.starts_with('Z'))
                .then(|| (pid, field("Name:").unwrap_or_default().to_owned()))
        })
        .collect()
}

/// Makes a file or directory readable and executable for everybody.
///
/// # Panics
///
/// Panics when the permissions cannot be set.
pub fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions can be set");
}
