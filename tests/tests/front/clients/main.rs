//! Programs that call `singularity` and `apptainer`, as they come from the Python package index, with
//! `front` in its place and their defaults.

mod others;
mod workflows;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::{Outcome, Registry, TestDirectory, as_tester, fixture, program, run, succeed};

/// The names under which `front` is called.
const NAMES: [&str; 2] = ["singularity", "apptainer"];

/// A directory for a program, in which `front` has other names.
pub(crate) struct Place {
    directory: TestDirectory,
    registry: Registry,
}

impl Place {
    /// Makes a directory, and a registry with an image of Debian's with Python.
    pub(crate) fn new() -> Self {
        let place = Self {
            directory: TestDirectory::new(),
            registry: Registry::start(),
        };
        fs::create_dir(place.path("names")).unwrap();
        for name in NAMES {
            symlink(program("front"), place.path("names").join(name)).unwrap();
        }
        place.push();
        place
    }

    /// Pushes the image. Workflow engines call `python`, which Debian's packages do not have.
    fn push(&self) {
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        let file = |name: &str| home.path().join(name).display().to_string();
        fs::create_dir_all(home.path().join("more/usr/bin")).unwrap();
        symlink("python3", home.path().join("more/usr/bin/python")).unwrap();
        let tar = file("py.tar");
        let add = |from: &Path, mode: &str, what: &str| {
            let mut command = Command::new("tar");
            command
                .arg("-C")
                .arg(from)
                .args(["--exclude=./dev/*", mode, &tar, what]);
            succeed(&mut command);
        };
        add(&fixture("py"), "-cf", ".");
        add(&home.path().join("more"), "-rf", "./usr/bin/python");
        let image = format!("localhost:{}/py:1", self.registry.port());
        for words in [
            vec!["import", "-q", &tar, &image],
            vec!["push", "-q", "--tls-verify=false", &image],
        ] {
            let mut podman = Command::new("podman");
            podman
                .args(["--root", &file("storage"), "--runroot", &file("run")])
                .args(["--storage-driver", "vfs"])
                .args(words)
                .stderr(Stdio::null());
            succeed(&mut podman);
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of a program. `PORT` stands for the registry's port, `IMAGE` for a SIF.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let image = fixture("py.sif").display().to_string();
        let text = text.replace("PORT", &self.registry.port().to_string());
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text.replace("IMAGE", &image)).unwrap();
        for above in path
            .ancestors()
            .take_while(|above| *above != self.directory.path())
        {
            tests::open_to_all(above);
        }
    }

    /// Runs a shell's words as the ordinary user. Programs find only `front`, under all its names.
    pub(crate) fn shell(&self, words: &str) -> Outcome {
        let path = [
            fixture("clients").join("bin"),
            self.path("names"),
            "/usr/bin".into(),
            "/bin".into(),
        ];
        let path = std::env::join_paths(path).unwrap();
        let home = self.directory.file("home");
        let words = format!("mkdir -p {home}; cd {home}/..; {words}");
        run(as_tester("/bin/sh")
            .args(["-c", &words])
            .env("PATH", path)
            .env("HOME", &home)
            .env("LANG", "C.UTF-8")
            .env("SINGULARITY_NOHTTPS", "1"))
    }
}
