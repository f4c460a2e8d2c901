//! The container for which a hook is called.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use rootfs::{Directory, Entry, Files as _};
use serde::Deserialize;
use serde_json::Value;

use crate::Error;

/// Largest state or configuration that is read, in bytes.
const LIMIT: u64 = 16 << 20;

/// The part of the container's state that hooks need.
#[derive(Deserialize)]
struct State {
    #[serde(default)]
    pid: Option<i32>,
    bundle: PathBuf,
}

/// A container that is being created.
#[derive(Debug)]
pub(crate) struct Container {
    pid: Option<i32>,
    root: PathBuf,
    config: Value,
    privileged: bool,
}

impl Container {
    /// Reads a container's state, and its bundle's `config.json`.
    ///
    /// # Errors
    ///
    /// Fails when one of them is missing or invalid.
    pub(crate) fn from_state(input: impl Read) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        let read = input.take(LIMIT).read_to_end(&mut bytes);
        read.map_err(|error| Error::State(text::message(&error)))?;
        let state: State =
            serde_json::from_slice(&bytes).map_err(|error| Error::State(error.to_string()))?;
        let path = state.bundle.join("config.json");
        let unread = |reason: String| Error::Bundle {
            path: path.clone(),
            reason,
        };
        let mut text = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(LIMIT).read_to_end(&mut text))
            .map_err(|error| unread(text::message(&error)))?;
        let config: Value =
            serde_json::from_slice(&text).map_err(|error| unread(error.to_string()))?;
        let root = config.pointer("/root/path").and_then(Value::as_str);
        let root = root.ok_or_else(|| unread("it has no root.path".to_owned()))?;
        Ok(Self {
            pid: state.pid.filter(|pid| *pid > 0),
            root: state.bundle.join(root),
            config,
            // This must be found out before a namespace is entered.
            privileged: is_real_root(),
        })
    }

    /// Returns a variable of the container's process. The last one of that name counts, as in
    /// runtimes.
    #[must_use]
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let all = self.config.pointer("/process/env")?.as_array()?;
        let values = all.iter().filter_map(|one| one.as_str()?.split_once('='));
        values
            .filter(|(own, _)| *own == name)
            .map(|(_, value)| value)
            .next_back()
    }

    /// Returns the variables whose names have this prefix.
    pub(crate) fn variables<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self
            .config
            .pointer("/process/env")
            .and_then(Value::as_array);
        let all = all.into_iter().flatten();
        let pairs = all.filter_map(|one| one.as_str()?.split_once('='));
        pairs.filter(move |(name, _)| name.starts_with(prefix))
    }

    /// Returns the path at which the container's program will be found in its root file system.
    #[must_use]
    pub(crate) fn program(&self, root: &Directory) -> Option<PathBuf> {
        let name = self.config.pointer("/process/args/0")?.as_str()?;
        let cwd = self.config.pointer("/process/cwd").and_then(Value::as_str);
        if name.contains('/') {
            return Some(Path::new(cwd.unwrap_or("/")).join(name));
        }
        let path = OsStr::new(self.variable("PATH")?);
        let mut paths = rootfs::candidates(path, OsStr::new(name))
            .map(|candidate| Path::new(cwd.unwrap_or("/")).join(candidate));
        paths.find(|path| matches!(root.entry(path), Ok(Some(Entry::File { .. }))))
    }

    /// Returns the value of an annotation.
    #[must_use]
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        let all = self.config.get("annotations")?.as_object()?;
        all.get(name)?.as_str()
    }

    /// Whether the runtime is root of the whole machine. Then the cgroup limits the container's
    /// devices.
    pub(crate) fn is_privileged(&self) -> bool {
        self.privileged
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Opens the container's root file system. The calling process must have
    /// [entered](Container::enter).
    pub(crate) fn open_root(&self) -> Result<Directory, Error> {
        Directory::open_root(&self.root).map_err(|error| Error::Bundle {
            path: self.root.clone(),
            reason: text::message(&error),
        })
    }

    /// Enters the container's mount namespace. Its root is still the host's at this time, so the
    /// host's files are visible. A `createContainer` hook is already in that namespace.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        let Some(pid) = self.pid else { return Ok(()) };
        let namespace = |name: &str| PathBuf::from(format!("/proc/{pid}/ns/{name}"));
        let own = fs::read_link("/proc/self/ns/mnt").map_err(Error::Enter)?;
        match fs::read_link(namespace("mnt")) {
            Ok(theirs) if theirs == own => return Ok(()),
            Ok(_) => {}
            // The pid belongs to another pid namespace, so this process is inside the container.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if self.is_laid_out() => return Ok(()),
            Err(error) => return Err(Error::Enter(error)),
        }
        let open = |name: &str| File::open(namespace(name)).map_err(Error::Enter);
        let (user, mount) = (open("user")?, open("mnt")?);
        let entered = setns(&mount, CloneFlags::CLONE_NEWNS).or_else(|_| {
            // An ordinary user has privileges only in the container's user namespace.
            setns(&user, CloneFlags::CLONE_NEWUSER)?;
            setns(&mount, CloneFlags::CLONE_NEWNS)
        });
        entered.map_err(|errno| Error::Enter(io::Error::from(errno)))
    }

    /// Whether the container's own mounts are visible to this process.
    fn is_laid_out(&self) -> bool {
        let root = fs::canonicalize(&self.root).unwrap_or_default();
        let places = [root.join("dev"), root.join("proc")];
        let points = sys::mount_points().unwrap_or_default();
        points.iter().any(|point| places.contains(point))
    }
}

fn is_real_root() -> bool {
    nix::unistd::geteuid().is_root() && sys::in_first_user_namespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_runtime_says() {
        let bundle = tempfile::tempdir().unwrap();
        let config = br#"{"root": {"path": "rootfs"}, "annotations": {"a.b": "c"},
            "process": {"env": ["A=1", "NVIDIA_X=2", "A=3=4", "B"]}}"#;
        fs::write(bundle.path().join("config.json"), config).unwrap();
        let state = format!(
            r#"{{"ociVersion": "1.2.0", "id": "x", "pid": 7, "bundle": {:?}}}"#,
            bundle.path()
        );
        let container = Container::from_state(state.as_bytes()).unwrap();
        assert_eq!(container.pid, Some(7));
        assert_eq!(container.root, bundle.path().join("rootfs"));
        assert_eq!(
            (container.variable("A"), container.variable("B")),
            (Some("3=4"), None)
        );
        assert_eq!(
            container.variables("NVIDIA_").collect::<Vec<_>>(),
            [("NVIDIA_X", "2")]
        );
        assert_eq!(container.annotation("a.b"), Some("c"));
        for wrong in ["", "{}", "[]", r#"{"bundle": "/nonexistent"}"#] {
            assert!(Container::from_state(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
