//! The CDI files of a host.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{ContainerEdits, Error, Name, Spec, expanse};

/// Largest file that is read, in bytes. The file of a node with sixteen partitioned GPUs has a
/// fifth of this size.
const LONGEST: u64 = 1 << 20;
/// Largest total size of all files, in bytes.
const ALL: u64 = 4 << 20;
/// Largest number of names that are read in a directory.
const NAMES: usize = 4096;

/// The CDI files in a host's directories.
#[derive(Debug, Default)]
pub struct Registry {
    /// The files by rising priority: each file's path, the index of its directory, and its content.
    specs: Vec<(PathBuf, usize, Spec)>,
    /// The errors of files that cannot be used.
    broken: Vec<Error>,
}

impl Registry {
    /// The directories of CDI files, by rising priority.
    pub const DIRECTORIES: [&'static str; 2] = ["/etc/cdi", "/var/run/cdi"];

    /// Reads the files of directories, by rising priority. An invalid file is skipped; it is
    /// reported when a device is not found.
    #[must_use]
    pub fn read(directories: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        let mut left = ALL;
        for (priority, directory) in directories.iter().enumerate() {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let paths = entries.take(NAMES + 1).map(|entry| entry.path());
            let mut paths: Vec<PathBuf> = paths.collect();
            if paths.len() > NAMES {
                registry.broken.push(Error::File {
                    path: directory.clone(),
                    reason: format!(
                        "it has more than {NAMES} files, and none is read; remove some"
                    ),
                });
                continue;
            }
            paths.retain(|path| {
                path.extension()
                    .is_some_and(|name| name == "json" || name == "yaml")
            });
            paths.sort();
            for path in paths {
                match read_file(&path, &mut left) {
                    Ok(spec) => registry.specs.push((path, priority, spec)),
                    Err(error) => registry.broken.push(error),
                }
            }
        }
        registry
    }

    /// Returns the names of all devices.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let all = self.specs.iter().flat_map(|(_, _, spec)| {
            let names = spec.devices.iter().map(|device| &device.name);
            names.map(|name| format!("{}={name}", spec.kind))
        });
        let sorted: BTreeSet<String> = all.collect();
        sorted.into_iter().collect()
    }

    /// Returns the errors of the files that cannot be used.
    #[must_use]
    pub fn broken(&self) -> &[Error] {
        &self.broken
    }

    /// Returns the edits for some devices. The edits that a file has for all its devices are added
    /// once.
    ///
    /// # Errors
    ///
    /// Fails when no file has a device, or two files of one directory have it.
    pub fn edits(&self, names: &[Name]) -> Result<ContainerEdits, Error> {
        let mut edits = ContainerEdits::default();
        let mut files: BTreeSet<&Path> = BTreeSet::new();
        for name in names {
            let (path, spec) = self.find(name)?;
            if files.insert(path) {
                edits.extend(&spec.container_edits);
            }
            let mut devices = spec.devices.iter();
            if let Some(device) = devices.find(|device| device.name == name.device) {
                edits.extend(&device.container_edits);
            }
        }
        Ok(edits)
    }

    fn find(&self, name: &Name) -> Result<(&Path, &Spec), Error> {
        let has = |spec: &Spec| {
            spec.kind == name.kind && spec.devices.iter().any(|device| device.name == name.device)
        };
        let having = self.specs.iter().filter(|(_, _, spec)| has(spec));
        let highest = having.clone().map(|(_, priority, _)| *priority).max();
        let mut of_it = having.filter(|(_, priority, _)| Some(*priority) == highest);
        match (of_it.next(), of_it.next()) {
            (Some((path, _, spec)), None) => Ok((path, spec)),
            (Some((first, _, _)), Some((second, _, _))) => Err(Error::Conflict {
                name: name.to_string(),
                first: first.clone(),
                second: second.clone(),
            }),
            (None, _) => Err(Error::Unknown {
                name: name.to_string(),
                known: self.names(),
            }),
        }
    }
}

/// Reads a file, if it is not larger than `left`, the rest of the total limit.
fn read_file(path: &Path, left: &mut u64) -> Result<Spec, Error> {
    let broken = |reason: String| Error::File {
        path: path.to_owned(),
        reason,
    };
    let text = sys::read_file(path, LONGEST.min(*left));
    let text = text.map_err(|error| broken(text::message(&error)))?;
    *left -= text.len() as u64;
    let text = String::from_utf8(text).map_err(|error| broken(error.to_string()))?;
    let spec: Spec = if path.extension().is_some_and(|name| name == "yaml") {
        expanse::check(&text).map_err(broken)?;
        serde_norway::from_str(&text).map_err(|error| broken(error.to_string()))?
    } else {
        serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?
    };
    spec.check().map_err(broken)?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal takes milliseconds on an idle machine. Without it, these files take hours.
    const LONGEST: std::time::Duration = std::time::Duration::from_secs(10);

    const YAML: &str = "
cdiVersion: 0.5.0
kind: example.com/gpu
containerEdits:
  env: [COMMON=1]
devices:
- name: '0'
  containerEdits:
    deviceNodes:
    - path: /dev/x0
- name: all
  containerEdits:
    mounts:
    - hostPath: /etc/hosts
      containerPath: /mnt/hosts
      options: [ro, rbind]
";

    #[test]
    fn files_are_found_and_the_later_directory_counts() {
        let (low, high) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(low.path().join("a.yaml"), YAML).unwrap();
        fs::write(low.path().join("b.json"), "{}").unwrap();
        fs::write(low.path().join("c.txt"), "no file for this").unwrap();
        let directories = [
            low.path().to_owned(),
            high.path().to_owned(),
            "/nonexistent".into(),
        ];
        let registry = Registry::read(&directories);
        assert_eq!(
            registry.names(),
            ["example.com/gpu=0", "example.com/gpu=all"]
        );
        assert_eq!(registry.broken().len(), 1);
        let name = |text: &str| Name::parse(text).unwrap();
        let both = [name("example.com/gpu=0"), name("example.com/gpu=all")];
        let edits = registry.edits(&both).unwrap();
        assert_eq!(edits.env, ["COMMON=1"]);
        assert_eq!((edits.device_nodes.len(), edits.mounts.len()), (1, 1));
        let unknown = registry
            .edits(&[name("example.com/gpu=9")])
            .unwrap_err()
            .to_string();
        let said = "there is no device example.com/gpu=9: there are example.com/gpu=0, example.com/gpu=all";
        assert_eq!(unknown, said);
        fs::write(
            high.path().join("a.yaml"),
            YAML.replace("COMMON=1", "COMMON=2"),
        )
        .unwrap();
        let edits = Registry::read(&directories).edits(&both).unwrap();
        assert_eq!(edits.env, ["COMMON=2"]);
        fs::write(high.path().join("z.yaml"), YAML).unwrap();
        let conflict = Registry::read(&directories).edits(&both).unwrap_err();
        assert!(matches!(conflict, Error::Conflict { .. }));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let changes = [
            ("0.5.0", "9.9.9"),
            ("example.com/gpu", "gpu"),
            ("name: all", "name: '0'"),
            ("path: /dev/x0", "path: dev/x0"),
            ("path: /dev/x0", "path: /dev/x0\n      colour: red"),
            ("COMMON=1", "COMMON"),
            ("containerPath: /mnt", "containerPath: mnt"),
        ];
        for (from, to) in changes {
            let text = YAML.replace(from, to);
            assert_ne!(text, YAML);
            fs::write(directory.path().join("a.yaml"), text).unwrap();
            let registry = Registry::read(&[directory.path().to_owned()]);
            assert_eq!(
                (registry.names().len(), registry.broken().len()),
                (0, 1),
                "{to}"
            );
        }
    }

    #[test]
    fn files_without_end_are_refused_at_once() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        assert!(makes_fifo(&at("a.yaml")));
        std::os::unix::fs::symlink("/dev/zero", at("b.json")).unwrap();
        fs::write(at("c.json"), " ".repeat(3 << 20)).unwrap();
        fs::write(at("d.yaml"), YAML).unwrap();
        let bomb = |number: u8| {
            let (this, last) = (char::from(b'b' + number), char::from(b'a' + number));
            format!("{this}: &{this} [{}]\n", format!("*{last},").repeat(9))
        };
        let bomb: String = (0..20).map(bomb).collect();
        fs::write(at("e.yaml"), format!("a: &a [x,x]\n{bomb}")).unwrap();
        // A few aliases of a long value cost as much.
        let long = format!("devices: &a [{}]\n", "x,".repeat(100_000));
        let devices = "d: *a\n".repeat(50_000);
        fs::write(at("f.yaml"), long + &devices).unwrap();
        for name in ["a.yaml", "b.json", "c.json", "e.yaml", "f.yaml"] {
            let begun = std::time::Instant::now();
            assert!(read_file(&at(name), &mut { ALL }).is_err());
            let took = begun.elapsed();
            assert!(took < LONGEST, "{name}: {took:?}");
        }
        let registry = Registry::read(&[home.path().to_owned()]);
        assert_eq!(registry.names().len(), 2);
        let told: Vec<String> = registry.broken().iter().map(Error::to_string).collect();
        let words = [
            "no regular file",
            "no regular file",
            "1048576 bytes",
            "repetition limit",
            "aliases",
        ];
        assert_eq!(told.len(), words.len(), "{told:?}");
        for (told, words) in told.iter().zip(words) {
            assert!(told.contains(words), "{words}: {told}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_at_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.yaml");
        for (open, times) in [
            ("[", 1_000_000),
            ("{a: ", 250_000),
            ("- ", 500_000),
            ("? ", 500_000),
            ("[{", 500_000),
        ] {
            fs::write(&path, open.repeat(times)).unwrap();
            let begun = std::time::Instant::now();
            let registry = Registry::read(&[home.path().to_owned()]);
            let took = begun.elapsed();
            assert!(took < LONGEST, "{open}: {took:?}");
            assert_eq!(registry.broken().len(), 1, "{open}");
        }
    }

    #[test]
    fn countless_files_are_refused() {
        let home = tempfile::tempdir().unwrap();
        for number in 0..=NAMES {
            fs::write(home.path().join(format!("{number}.json")), "").unwrap();
        }
        let registry = Registry::read(&[home.path().to_owned()]);
        assert_eq!(registry.broken().len(), 1);
    }

    fn makes_fifo(path: &Path) -> bool {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        made.is_ok_and(|status| status.success())
    }
}
