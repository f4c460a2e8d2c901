//! Recipes as the field writes them: what they build runs under launchers, and packages are installed
//! with one user and with several.

mod cases;
mod packages;
mod seeds;

use std::path::PathBuf;
use std::process::Command;

use tests::{Outcome, Registry, fixture, open_directory, run, user_shell};

/// The program that all ranks run.
const HELLO: &str = include_str!("../../../mpi/hello.c");
/// The directories of the host's programs, newuidmap among them.
const PATH: &str = "/usr/bin:/bin";
/// The flags by which root has the users of /etc/subuid, or is the only one.
const ROOTS: [&str; 2] = ["", "--ignore-subuid"];

/// A directory of the ordinary user, with a registry that has `base:1`: a Debian with a compiler, MPICH,
/// HDF5 and pip.
struct Workshop {
    place: tempfile::TempDir,
    registry: Registry,
}

impl Workshop {
    fn new() -> Self {
        let (place, registry) = (open_directory(), Registry::start());
        registry.push(&fixture("recipes").join("layout"), "base:1");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(fixture("recipes").join("wheels"))
            .arg(place.path())
            .status();
        assert!(copied.unwrap().success());
        Self { place, registry }
    }

    fn base(&self) -> String {
        self.registry.image("base:1")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.place.path().join(name), text).unwrap();
    }

    /// Returns a command line of the ordinary user, for whom nothing is cached yet. Without a PATH, only
    /// `front` is there.
    fn command(&self, words: &str) -> Command {
        let mut command = user_shell(&self.place, words);
        command.env("FRONT_CACHEDIR", self.place.path().join("cache"));
        command
    }

    /// Runs a command line of the ordinary user.
    fn shell(&self, words: &str) -> Outcome {
        run(self.command(words).env("PATH", PATH))
    }

    fn image(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// Returns the address of a mirror with a Debian.
fn mirror(suite: &str) -> String {
    let mut targets = Command::new("apt-get");
    let targets =
        tests::succeed(targets.args(["indextargets", "--format", "$(REPO_URI) $(CODENAME)"]));
    let mut lines = targets.lines();
    let line = lines
        .find(|line| line.ends_with(&format!(" {suite}")))
        .expect("a mirror");
    line.split(' ').next().unwrap().to_owned()
}
