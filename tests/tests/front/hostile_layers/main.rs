//! Hostile layers: they are unpacked safely, or refused in one line.

mod contents;
mod escapes;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::{Member, Outcome, front, layer, layout, run, succeed};

/// A directory with files outside of the unpacked tree, which must not change.
pub(crate) struct Outside {
    home: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Outside {
    fn new() -> Self {
        let home = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let outside = home.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "as it was").unwrap();
        let mut place = Self {
            home,
            before: BTreeMap::new(),
        };
        succeed(
            Command::new("chmod")
                .args(["-R", "a+rwX"])
                .arg(place.file("outside")),
        );
        place.before = place.outside();
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn outside(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.file("outside")];
        while let Some(path) = open.pop() {
            let stat = path.symlink_metadata().unwrap();
            let content = fs::read_to_string(&path).unwrap_or_default();
            found.insert(
                path.clone(),
                format!("{:o} {} {content}", stat.mode(), stat.nlink()),
            );
            if stat.is_dir() {
                open.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            }
        }
        found
    }

    fn image(&self, layers: &[Vec<Member>]) {
        let files: Vec<PathBuf> = (0..layers.len())
            .map(|number| self.file(&format!("layer{number}")))
            .collect();
        for (file, members) in files.iter().zip(layers) {
            fs::write(file, layer(members)).unwrap();
        }
        let _ = fs::remove_dir_all(self.file("image"));
        let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        layout(&self.file("image"), &paths);
    }

    fn build(&self, flags: &[&str]) -> Outcome {
        let (output, source) = (
            self.file("out"),
            format!("oci:{}", self.file("image").display()),
        );
        let _ = Command::new("chmod")
            .args(["-R", "u+rwx"])
            .arg(&output)
            .stderr(Stdio::null())
            .status();
        let _ = fs::remove_dir_all(&output);
        let _ = fs::remove_file(&output);
        let mut command = front(["-q", "build"]);
        command.args(flags).arg(output).arg(source);
        command.env("FRONT_CACHEDIR", self.file("cache"));
        run(&mut command)
    }

    /// Checks that the image is unpacked, or refused in one line; that nothing outside changes, and
    /// nothing is left.
    fn is_safe(&self, what: &str) {
        for flags in [&[][..], &["--sandbox"], &["--sandbox", "--fix-perms"]] {
            let outcome = self.build(flags);
            assert!(!outcome.stderr.contains("panick"), "{what}: {outcome:?}");
            match outcome.code {
                0 => assert!(self.file("out").exists(), "{what}"),
                255 => {
                    assert_eq!(outcome.stderr.lines().count(), 1, "{what}: {outcome:?}");
                    assert!(
                        self.file("out").symlink_metadata().is_err(),
                        "{what}: half of it"
                    );
                }
                _ => panic!("{what}: {outcome:?}"),
            }
            assert_eq!(self.outside(), self.before, "{what} {flags:?}");
        }
        let mut left: Vec<_> = fs::read_dir(self.home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        left.sort();
        assert_eq!(left, [""; 0], "{what}");
    }
}
