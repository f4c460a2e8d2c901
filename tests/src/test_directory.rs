//! A user's own directory, which everybody may use, with a cache and without credentials.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, front, run};

/// Checks that an image was busybox, and that nothing else was printed.
///
/// # Panics
///
/// Panics when it was not.
pub fn is_bb(outcome: &Outcome) {
    assert_eq!(
        (
            outcome.stdout.as_str(),
            outcome.stderr.as_str(),
            outcome.code
        ),
        ("NAME=bb\n", "", 0)
    );
}

/// A directory below `/tmp`, which the peers' root shows, too. It is removed when this is dropped.
#[derive(Debug)]
pub struct TestDirectory {
    home: tempfile::TempDir,
}

impl Default for TestDirectory {
    fn default() -> Self {
        Self::new()
    }
}

impl TestDirectory {
    /// Makes a directory.
    ///
    /// # Panics
    ///
    /// Panics when there is no room.
    #[must_use]
    pub fn new() -> Self {
        let home = tempfile::tempdir_in("/tmp").expect("there is room");
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
        Self { home }
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// Returns a path in the directory.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// Returns the same path as the peers' root has it.
    #[must_use]
    pub fn there(&self, name: &str) -> String {
        let home = self.home.path().file_name().unwrap_or_default();
        format!("/tmp/host/{}/{name}", home.display())
    }

    /// Returns `front` with arguments, which uses this directory.
    #[must_use]
    pub fn front(&self, args: &[&str]) -> Command {
        let mut command = front(args);
        command
            .env("FRONT_CACHEDIR", self.file("cache"))
            .env("FRONT_CONFIGDIR", self.file("config"))
            .env("FRONT_KEYSDIR", self.file("keys"))
            .env("DOCKER_CONFIG", self.file("docker"))
            .current_dir(self.home.path());
        command
    }

    /// Prints `/etc/os-release` of an image.
    #[must_use]
    pub fn exec(&self, image: &str) -> Outcome {
        run(&mut self.front(&["-q", "exec", image, "cat", "/etc/os-release"]))
    }

    /// Returns the names of the cached things in a directory of the cache.
    #[must_use]
    pub fn kept(&self, kind: &str) -> Vec<String> {
        let entries = fs::read_dir(self.cache().join(kind));
        let names = entries.into_iter().flatten().flatten();
        names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Returns the path of the cache.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.home.path().join("cache/front")
    }
}
