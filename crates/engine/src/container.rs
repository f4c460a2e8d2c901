//! A container that exists: its state, and what can be done with it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcontainer::config::YoukiConfig;
use libcontainer::container::{Container as Inner, ContainerStatus, State as InnerState};
use libcontainer::error::LibcontainerError;
use libcontainer::notify_socket::{NOTIFY_FILE, NotifySocket};
use nix::errno::Errno;
use nix::unistd::Pid;
use serde_json::Value;

use crate::first_process::{BEGIN, begin_of, end, is_alive, is_another, send};
use crate::pidfd::{ends_within, open_process};
use crate::seccomp::{Courier, Filter};
use crate::shadow_bundle::{Prepared, config, scratch, shadow};
use crate::{Error, State, Status, cgroup, identifier};

/// How long a container that is deleted may take to end by itself.
const MOMENT: Duration = Duration::from_millis(100);

/// A container.
#[derive(Debug)]
pub struct Container {
    id: String,
    root: PathBuf,
    /// `None` for one whose making was cut short.
    inner: Option<Inner>,
    config: Option<YoukiConfig>,
}

impl Container {
    /// Finds a container in a state root.
    ///
    /// # Errors
    ///
    /// Fails when there is none of that id.
    pub fn load(root: &Path, id: &str) -> Result<Self, Error> {
        identifier::check(id)?;
        let state = root.join(id);
        if !state.is_dir() {
            return Err(Error::Missing);
        }
        let config = YoukiConfig::load(&state).ok();
        let inner = load(id, &state)
            .inspect_err(|error| tracing::debug!("{id}: {}", sys::one_line(error)))
            .ok();
        Ok(Self {
            id: id.to_owned(),
            root: root.to_owned(),
            inner,
            config,
        })
    }

    /// Returns the id of its first process, if it has one.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.inner.as_ref().and_then(Inner::pid)
    }

    /// Returns how far it has come.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = match self.inner.as_ref().map(Inner::status) {
            None | Some(ContainerStatus::Stopped) => Status::Stopped,
            Some(ContainerStatus::Creating) => Status::Creating,
            Some(ContainerStatus::Created) => Status::Created,
            Some(ContainerStatus::Running | ContainerStatus::Paused) => Status::Running,
        };
        let alive = matches!(status, Status::Created | Status::Running);
        if alive && self.pid().is_some_and(cgroup::is_frozen) {
            return Status::Paused;
        }
        status
    }

    fn directory(&self) -> PathBuf {
        self.root.join(&self.id)
    }

    /// The cgroups that a process that enters the container goes to.
    pub(crate) fn place(&self, init: Pid, wanted: &[String]) -> Result<cgroup::Place, Error> {
        let config = self.config.as_ref().ok_or(Error::Missing)?;
        cgroup::Place::beside(init, &config.cgroup_path, wanted)
    }

    /// Writes down when the first process began: its number alone may once be another's.
    pub(crate) fn write_begin(&self) -> Result<(), Error> {
        let Some(begin) = self.pid().and_then(begin_of) else {
            return Ok(());
        };
        let path = self.directory().join(BEGIN);
        fs::write(&path, begin).map_err(Error::state("write", path))
    }

    /// Tells libcontainer the true bundle, instead of the shadow that it was made from.
    pub(crate) fn set_bundle(&mut self, bundle: &Path) -> Result<(), Error> {
        let inner = self.inner.as_mut().ok_or(Error::Missing)?;
        inner.state.bundle = bundle.to_owned();
        inner
            .save()
            .map_err(|error| Error::library("write the container's state", &error))
    }

    /// Tells the true cgroup, instead of the decoy that libcontainer was shown.
    pub(crate) fn set_cgroup(&mut self, prepared: &Prepared) -> Result<(), Error> {
        let directory = self.directory();
        let config = self.config.as_mut().ok_or(Error::Missing)?;
        config.cgroup_path = prepared.cgroup.clone().unwrap_or_default().into();
        config
            .save(directory)
            .map_err(|error| Error::library("write the container's state", &error))
    }

    /// Sets the limits that the specification asks for.
    pub(crate) fn limit(&self, prepared: &Prepared) -> Result<(), Error> {
        let Some(resources) = prepared.document.pointer("/linux/resources") else {
            return Ok(());
        };
        let config = self.config.as_ref().ok_or(Error::Missing)?;
        cgroup::apply(&config.cgroup_path, self.systemd(), &self.id, resources)
    }

    /// Returns the container's specification, as it was normalised.
    ///
    /// # Errors
    ///
    /// Fails when it was removed or damaged.
    pub fn document(&self) -> Result<Value, Error> {
        let path = config(&shadow(&self.root, &self.id));
        let text = fs::read(&path).map_err(Error::state("read", &path))?;
        serde_json::from_slice(&text).map_err(|error| Error::Config {
            path,
            reason: error.to_string(),
        })
    }

    /// Prepares the filter for a process that enters the container.
    pub(crate) fn filter(
        &self,
        document: &Value,
    ) -> Result<Option<(Filter, Option<Courier>)>, Error> {
        let state = || serde_json::to_value(self.state()).unwrap_or_default();
        Filter::of(document, &self.root, state)
    }

    /// Returns the container's state.
    #[must_use]
    pub fn state(&self) -> State {
        let status = self.status();
        let inner = self.inner.as_ref();
        let pid = inner.and_then(Inner::pid).map_or(0, Pid::as_raw);
        let annotations = inner.and_then(|inner| inner.state.annotations.clone());
        let rootfs = self.document().ok().and_then(|document| {
            let path = document.pointer("/root/path")?.as_str()?;
            Some(PathBuf::from(path))
        });
        let created = inner.and_then(Inner::created).map(|time| {
            // chrono comes with libcontainer; its Display of nanoseconds in UTC is RFC 3339.
            format!("{}", time.format("%Y-%m-%dT%H:%M:%S%.fZ"))
        });
        State {
            oci_version: inner.map_or_else(String::new, |inner| inner.state.oci_version.clone()),
            id: self.id.clone(),
            pid: if status == Status::Stopped { 0 } else { pid },
            status,
            rootfs: rootfs.unwrap_or_default(),
            bundle: inner.map_or_else(PathBuf::new, |inner| inner.bundle().clone()),
            created: created.unwrap_or_default(),
            annotations: annotations
                .unwrap_or_default()
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            owner: inner
                .and_then(|inner| inner.state.creator)
                .map_or_else(String::new, owner),
        }
    }

    /// Lets the program run.
    ///
    /// # Errors
    ///
    /// Fails unless the container is waiting for it.
    pub fn start(&mut self) -> Result<(), Error> {
        match self.status() {
            Status::Created => {}
            Status::Stopped => {
                return Err(Error::WrongStatus(
                    "cannot start a container that has stopped".into(),
                ));
            }
            _ => {
                return Err(Error::WrongStatus(
                    "cannot start an already running container".into(),
                ));
            }
        }
        let directory = self.directory();
        let inner = self.inner.as_mut().ok_or(Error::Missing)?;
        begin(inner, self.config.as_ref(), &directory)
            .map_err(|error| Error::library("start the container", &error))
    }

    /// Sends a signal, 0 to 64, to the container's first process, or to all of its processes.
    ///
    /// # Errors
    ///
    /// Fails when it is not running and `all` is not asked for.
    pub fn kill(&self, signal: i32, all: bool) -> Result<(), Error> {
        if all {
            return self.kill_all(signal);
        }
        let running = matches!(
            self.status(),
            Status::Created | Status::Running | Status::Paused
        );
        let pid = self.pid().filter(|_| running);
        let pid = pid.ok_or_else(|| Error::WrongStatus("container not running".into()))?;
        send(pid, signal).map_err(|errno| match errno {
            Errno::ESRCH => Error::WrongStatus("container not running".into()),
            errno => Error::system("signal the container's process", errno),
        })?;
        // In the old hierarchy a frozen process does not even die.
        if signal == nix::libc::SIGKILL && self.status() == Status::Paused {
            self.freeze(false)?;
        }
        Ok(())
    }

    fn kill_all(&self, signal: i32) -> Result<(), Error> {
        if self.config.is_none() {
            return Ok(());
        }
        for pid in self.processes()? {
            match send(pid, signal) {
                // Gone meanwhile.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => {
                    return Err(Error::system("signal a process of the container", errno));
                }
            }
        }
        Ok(())
    }

    /// Freezes every process of the container.
    ///
    /// # Errors
    ///
    /// Fails unless it runs.
    pub fn pause(&self) -> Result<(), Error> {
        match self.status() {
            Status::Created | Status::Running => self.freeze(true),
            _ => Err(Error::WrongStatus(
                "container not running or created".into(),
            )),
        }
    }

    /// Lets the processes of a frozen container go on.
    ///
    /// # Errors
    ///
    /// Fails unless it is frozen.
    pub fn resume(&self) -> Result<(), Error> {
        match self.status() {
            Status::Paused => self.freeze(false),
            _ => Err(Error::WrongStatus("container not paused".into())),
        }
    }

    fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let config = self.config.as_ref().ok_or(Error::Missing)?;
        cgroup::freeze(&config.cgroup_path, self.systemd(), &self.id, frozen)
    }

    /// Returns the ids of all its processes, as seen from here.
    ///
    /// # Errors
    ///
    /// Fails when its cgroup cannot be read.
    pub fn processes(&self) -> Result<Vec<Pid>, Error> {
        let config = self.config.as_ref().ok_or(Error::Missing)?;
        cgroup::processes(&config.cgroup_path, self.systemd(), &self.id, self.pid())
    }

    /// Returns what the container uses, in the shape that runc prints.
    ///
    /// # Errors
    ///
    /// Fails when its cgroup cannot be read.
    pub fn stats(&self) -> Result<Value, Error> {
        let config = self.config.as_ref().ok_or(Error::Missing)?;
        cgroup::stats(&config.cgroup_path, self.systemd(), &self.id)
    }

    /// Changes the limits that `changes` names, an object as the specification's `linux.resources`;
    /// the others stay.
    ///
    /// # Errors
    ///
    /// Fails when the container has stopped, and when a limit cannot be set; those before it are set
    /// then.
    pub fn update(&self, changes: &Value) -> Result<(), Error> {
        if self.status() == Status::Stopped {
            return Err(Error::WrongStatus("container not running".into()));
        }
        let config = self.config.as_ref().ok_or(Error::Missing)?;
        let mut document = self.document()?;
        let linux = document
            .get_mut("linux")
            .and_then(Value::as_object_mut)
            .ok_or(Error::Missing)?;
        let current = linux.entry("resources").or_insert(Value::Null);
        let touched = cgroup::touched(current, changes);
        cgroup::apply(&config.cgroup_path, self.systemd(), &self.id, &touched)?;
        cgroup::merge(current, &touched);
        crate::shadow_bundle::write_config(&shadow(&self.root, &self.id), &document)?;
        Ok(())
    }

    /// Changes the share of the cache or of the memory's bandwidth: a line of resctrl's `schemata`.
    ///
    /// # Errors
    ///
    /// Fails when the container has no such share of its own.
    pub fn set_rdt_schema(&self, schema: &str) -> Result<(), Error> {
        crate::rdt::set(&self.document()?, &self.id, schema)
    }

    fn systemd(&self) -> bool {
        self.inner.as_ref().is_some_and(Inner::systemd)
    }

    /// Whether the first process ends within a moment: who starts something short and deletes it at once
    /// need not be told that it still runs.
    fn ends_soon(&self) -> bool {
        let Some(pidfd) = self.pid().and_then(|pid| open_process(pid).ok()) else {
            return true;
        };
        ends_within(&pidfd, MOMENT).unwrap_or(false)
    }

    /// Removes what is left of a stopped container; with `force`, ends a running one first.
    ///
    /// # Errors
    ///
    /// Fails when it runs and `force` is not asked for. What can be removed is removed even if
    /// something else cannot.
    pub fn delete(self, force: bool) -> Result<(), Error> {
        let mut status = self.status();
        if status == Status::Running && !force && self.ends_soon() {
            status = Status::Stopped;
        }
        if matches!(status, Status::Running | Status::Paused) && !force {
            return Err(Error::WrongStatus(format!(
                "cannot delete container {} that is not stopped: {status}",
                self.id
            )));
        }
        if let Some(pid) = self.pid().filter(|_| status != Status::Stopped) {
            // Thaws a frozen one, too.
            let _ = self.kill(nix::libc::SIGKILL, false);
            end(pid)?;
        }
        if let Some(config) = &self.config {
            // The rest of a container that shares our pid namespace.
            cgroup::log_failure(self.kill_all(nix::libc::SIGKILL));
            cgroup::remove(&config.cgroup_path, self.systemd(), &self.id)?;
            self.run_poststop(config);
        }
        // Who runs it in the foreground may be at it as well, when a checkpoint has ended it.
        for directory in [self.directory(), shadow(&self.root, &self.id)] {
            remove_if_there(&directory)?;
        }
        Ok(())
    }

    /// The specification: errors of poststop hooks are logged, and the rest goes on.
    fn run_poststop(&self, config: &YoukiConfig) {
        let (Some(hooks), Some(inner)) = (config.hooks.as_ref(), self.inner.as_ref()) else {
            return;
        };
        let mut state = inner.state.clone();
        state.status = ContainerStatus::Stopped;
        let run = libcontainer::hooks::run_hooks;
        if let Err(error) = run(hooks.poststop().as_ref(), Some(&state), None, None, None) {
            tracing::warn!("poststop hook: {}", sys::one_line(&error));
        }
    }
}

fn remove_if_there(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::state("remove", directory)(error))
        }
        _ => Ok(()),
    }
}

/// Removes what a runtime that was killed early has left of a container that never came to be.
///
/// # Errors
///
/// Fails when the id is none, or something cannot be removed.
pub fn forget(root: &Path, id: &str) -> Result<(), Error> {
    identifier::check(id)?;
    let directory = shadow(root, id);
    let text = fs::read(config(&directory)).unwrap_or_default();
    let document: Value = serde_json::from_slice(&text).unwrap_or_default();
    let path = document
        .pointer("/linux/cgroupsPath")
        .and_then(Value::as_str);
    // One of systemd's is no path, and goes with its last process.
    if let Some(path) = path.filter(|path| path.starts_with('/')) {
        cgroup::remove(Path::new(path), false, id)?;
    }
    for leftover in [
        directory,
        scratch(root, "cgroup", id),
        scratch(root, "console", id),
    ] {
        remove_if_there(&leftover)?;
    }
    Ok(())
}

/// Reads libcontainer's state of a container. Its own way believes `/proc`, which hides processes where it is mounted
/// with `hidepid`.
fn load(id: &str, directory: &Path) -> Result<Inner, LibcontainerError> {
    let saved = InnerState::load(directory)?;
    let mut inner = Inner::new(id, saved.status, saved.pid, directory, directory)?;
    inner.state = saved;
    inner.state.status = match inner.state.pid.map(Pid::from_raw) {
        Some(pid) if is_alive(pid) && !is_another(pid, directory) => match inner.state.status {
            ContainerStatus::Stopped => ContainerStatus::Running,
            status => status,
        },
        _ => ContainerStatus::Stopped,
    };
    Ok(inner)
}

/// Lets the first process go on, and runs the hooks for then. As libcontainer does, without its look at `/proc`.
fn begin(
    inner: &mut Inner,
    config: Option<&YoukiConfig>,
    directory: &Path,
) -> Result<(), LibcontainerError> {
    NotifySocket::new(directory.join(NOTIFY_FILE)).notify_container_start()?;
    inner.set_status(ContainerStatus::Running).save()?;
    let hooks = config.and_then(|config| config.hooks.as_ref());
    let hooks = hooks.and_then(|hooks| hooks.poststart().as_ref());
    libcontainer::hooks::run_hooks(hooks, Some(&inner.state), Some(directory), None, None)?;
    Ok(())
}

/// The name of a user, its number where it has none.
fn owner(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let line = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&number));
    line.and_then(|line| line.split(':').next())
        .map_or(number, str::to_owned)
}

/// Returns the containers in a state root, by id.
///
/// # Errors
///
/// Fails when the root cannot be read. One that does not exist has no containers.
pub fn list(root: &Path) -> Result<Vec<Container>, Error> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::state("read", root)(error)),
    };
    let mut ids: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|id| !id.starts_with(".bundles") && identifier::check(id).is_ok())
        .collect();
    ids.sort();
    Ok(ids
        .iter()
        .filter_map(|id| Container::load(root, id).ok())
        .collect())
}
