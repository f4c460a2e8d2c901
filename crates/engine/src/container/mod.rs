//! An existing container: its state, and the operations on it.

mod end;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use libcontainer::config::YoukiConfig;
use libcontainer::container::{Container as Inner, ContainerStatus, State as InnerState};
use libcontainer::error::LibcontainerError;
use libcontainer::notify_socket::{NOTIFY_FILE, NotifySocket};
use libcontainer::oci_spec::runtime::Hook;
use nix::unistd::Pid;
use serde_json::Value;

use crate::cgroup::{Cgroup, Driver};
use crate::error::of_library;
use crate::first_process::{BEGIN, begin_of, is_alive, is_another};
use crate::readiness::Readiness;
use crate::seccomp::{Filter, Relay};
use crate::shadow_bundle::{Prepared, change_document, read_document, shadow, write_whole};
use crate::{Document, Error, State, Status, cgroup, hooks, identifier};

/// A container.
#[derive(Debug)]
pub struct Container {
    id: String,
    root: PathBuf,
    /// `None` for a container whose creation was interrupted.
    inner: Option<Inner>,
    config: Option<YoukiConfig>,
    /// The file with the begin of the first process, if there is one, or else the state's directory.
    identity: Option<Identity>,
    /// The specification, once it has been read. `None` if it cannot be.
    document: OnceCell<Option<Document>>,
}

impl Container {
    /// Finds a container in a state root.
    ///
    /// # Errors
    ///
    /// Fails when there is no container of that id.
    pub fn load(root: &Path, id: &str) -> Result<Self, Error> {
        // Claims name the true path.
        let root = fs::canonicalize(root).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing,
            _ => Error::state("open", root)(error),
        })?;
        let mut container = Self::load_new(&root, id)?;
        let directory = container.directory();
        if let Some(inner) = &mut container.inner {
            inner.state.status = status_now(&inner.state, &directory);
        }
        Ok(container)
    }

    /// Does the same for a container that was just made, so that its state is true, in a root whose
    /// path has no links.
    pub(crate) fn load_new(root: &Path, id: &str) -> Result<Self, Error> {
        identifier::check(id)?;
        let state = root.join(id);
        if !state.is_dir() {
            return Err(Error::Missing);
        }
        let config = YoukiConfig::load(&state).ok();
        let inner = load(id, &state)
            .inspect_err(|error| tracing::debug!("{id}: {}", of_library(error)))
            .ok();
        Ok(Self {
            id: id.to_owned(),
            root: root.to_owned(),
            inner,
            config,
            identity: Identity::of(&state),
            document: OnceCell::new(),
        })
    }

    /// Returns the id of the container's first process, if it has one.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.inner.as_ref().and_then(Inner::pid)
    }

    /// Returns the container's status.
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

    /// Returns the cgroups that a process joins when it enters the container.
    pub(crate) fn joined_cgroups(
        &self,
        init: Pid,
        wanted: &[String],
    ) -> Result<cgroup::JoinedCgroups, Error> {
        let config = self.config.as_ref().ok_or(Error::Missing)?;
        cgroup::JoinedCgroups::beside(init, &config.cgroup_path, wanted)
    }

    /// Records when the first process began, because its number alone may be reused later.
    pub(crate) fn write_begin(&mut self) -> Result<(), Error> {
        let Some(begin) = self.pid().and_then(begin_of) else {
            return Ok(());
        };
        let directory = self.directory();
        write_whole(&directory.join(BEGIN), begin.as_bytes())?;
        self.identity = Identity::of(&directory);
        Ok(())
    }

    /// Whether the state is still this container's. Somebody else may have deleted it since, and made
    /// another container of the same id.
    fn is_the_one(&self) -> bool {
        self.identity.is_some() && self.identity == Identity::of(&self.directory())
    }

    /// Records the true cgroup, instead of the decoy that libcontainer was shown.
    pub(crate) fn set_cgroup(&mut self, prepared: &Prepared) -> Result<(), Error> {
        let directory = self.directory();
        let config = self.config.as_mut().ok_or(Error::Missing)?;
        config.cgroup_path = prepared.document.cgroup().unwrap_or_default().into();
        config
            .save(directory)
            .map_err(|error| Error::library("write the container's state", &error))
    }

    /// Sets the limits that the specification asks for.
    pub(crate) fn limit(&self, prepared: &Prepared) -> Result<(), Error> {
        self.cgroup()?.limit(prepared.document.resources())
    }

    /// Returns the container's specification in its normalised form.
    ///
    /// # Errors
    ///
    /// Fails when it was removed or damaged.
    pub fn document(&self) -> Result<Document, Error> {
        read_document(&shadow(&self.root, &self.id))
    }

    /// Spares the container to read its specification.
    pub(crate) fn knowing(mut self, document: Document) -> Self {
        self.document = OnceCell::from(Some(document));
        self
    }

    /// Returns the specification, as it was when it was first asked for.
    fn known_document(&self) -> Option<&Document> {
        self.document.get_or_init(|| self.document().ok()).as_ref()
    }

    /// Prepares the seccomp filter for a process that enters the container.
    pub(crate) fn filter(
        &self,
        document: &Document,
    ) -> Result<Option<(Filter, Option<Relay>)>, Error> {
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
        let rootfs = self.known_document().and_then(Document::root_path);
        let created = inner.and_then(Inner::created).map(|time| {
            // chrono comes with libcontainer; its Display of nanoseconds in UTC is RFC 3339.
            format!("{}", time.format("%Y-%m-%dT%H:%M:%S%.fZ"))
        });
        State {
            oci_version: inner.map_or_else(String::new, |inner| inner.state.oci_version.clone()),
            id: self.id.clone(),
            pid: if status == Status::Stopped { 0 } else { pid },
            status,
            rootfs: rootfs.map(PathBuf::from).unwrap_or_default(),
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

    /// Starts the container's program.
    ///
    /// # Errors
    ///
    /// Fails unless the container is waiting for its start.
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
        self.start_created()
    }

    /// Does the same, and waits until the program is ready, if the container was made to report it.
    /// `manager` is the socket of the service manager, which is told.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and when the manager cannot be told.
    pub fn start_and_notify(&mut self, manager: &Path) -> Result<(), Error> {
        let readiness = self.readiness(manager)?;
        self.start()?;
        match (readiness, self.pid()) {
            (Some(readiness), Some(init)) => readiness.pass_on(init),
            _ => Ok(()),
        }
    }

    /// Opens the socket at which the program reports that it is ready.
    pub(crate) fn readiness(&self, manager: &Path) -> Result<Option<Readiness>, Error> {
        Readiness::open(&self.directory(), manager)
    }

    /// Starts the program of a container that was just made.
    pub(crate) fn start_created(&mut self) -> Result<(), Error> {
        let directory = self.directory();
        let inner = self.inner.as_mut().ok_or(Error::Missing)?;
        begin(inner, &directory)?;
        self.hooks_at("poststart").run().inspect_err(|_| {
            // As in runc, a container whose hook fails is not left running.
            cgroup::log_failure(self.end_first());
        })
    }

    /// Freezes every process of the container.
    ///
    /// # Errors
    ///
    /// Fails unless the container runs.
    pub fn pause(&self) -> Result<(), Error> {
        match self.status() {
            Status::Created | Status::Running => self.freeze(true),
            _ => Err(Error::WrongStatus(
                "container not running or created".into(),
            )),
        }
    }

    /// Thaws the processes of a frozen container.
    ///
    /// # Errors
    ///
    /// Fails unless the container is frozen.
    pub fn resume(&self) -> Result<(), Error> {
        match self.status() {
            Status::Paused => self.freeze(false),
            _ => Err(Error::WrongStatus("container not paused".into())),
        }
    }

    fn freeze(&self, frozen: bool) -> Result<(), Error> {
        self.cgroup()?.freeze(frozen)
    }

    /// Returns the ids of all processes of the container, as seen from here.
    ///
    /// # Errors
    ///
    /// Fails when the container's cgroup cannot be read.
    pub fn processes(&self) -> Result<Vec<Pid>, Error> {
        // The id of a process that has ended may be another's by now.
        let without = match self.pid().filter(|_| self.status() != Status::Stopped) {
            Some(init) if self.has_own_processes() => cgroup::Without::Namespace(init),
            Some(init) => cgroup::Without::First(init),
            None => cgroup::Without::None,
        };
        self.cgroup()?.processes(without)
    }

    /// Returns the container's use of resources, in the form that runc prints.
    ///
    /// # Errors
    ///
    /// Fails when the container's cgroup cannot be read.
    pub fn stats(&self) -> Result<Value, Error> {
        self.cgroup()?.stats()
    }

    /// Changes the limits in `changes`, an object like the specification's `linux.resources`. The
    /// others stay.
    ///
    /// # Errors
    ///
    /// Fails when the container has stopped, or a limit cannot be set. The limits before it are set
    /// then.
    pub fn update(&self, changes: &Value) -> Result<(), Error> {
        if self.status() == Status::Stopped {
            return Err(Error::WrongStatus("container not running".into()));
        }
        let mut document = self.document()?;
        let linux = document.object_mut("linux").ok_or(Error::Missing)?;
        let current = linux.entry("resources").or_insert(Value::Null);
        let mut touched = cgroup::touched(current, changes);
        if let Some(touched) = touched.as_object_mut() {
            crate::normalise::limit_processes(touched);
        }
        self.cgroup()?.apply(&touched)?;
        cgroup::merge(current, &touched);
        change_document(&shadow(&self.root, &self.id), &document)
    }

    /// Changes the container's share of the cache or of the memory's bandwidth. `schema` is a line
    /// of resctrl's `schemata`.
    ///
    /// # Errors
    ///
    /// Fails when the container has no such share of its own.
    pub fn set_rdt_schema(&self, schema: &str) -> Result<(), Error> {
        crate::rdt::set(&self.document()?, &self.id, schema)
    }

    /// Returns the container's cgroup. Fails for a container whose creation was interrupted.
    pub(super) fn cgroup(&self) -> Result<Cgroup, Error> {
        let is_systemds = self.inner.as_ref().is_some_and(Inner::systemd);
        let config = self.config.as_ref();
        let path = config.map(|config| &config.cgroup_path);
        let path = match path {
            Some(path) => path.clone(),
            // Only the specification is left, and it may name a slice of systemd's.
            None => {
                let path = self.known_document().and_then(Document::cgroup);
                let path = path.map(PathBuf::from);
                path.filter(|path| path.is_absolute())
                    .ok_or(Error::Missing)?
            }
        };
        Ok(Cgroup {
            path,
            driver: match is_systemds {
                true => Driver::Systemd,
                false => Driver::FileSystem,
            },
            id: self.id.clone(),
        })
    }

    /// Returns the hooks of a point that run in the runtime's namespaces, and the state that they
    /// are given. A container whose creation was interrupted has no document, and its hooks did not
    /// begin.
    fn hooks_at(&self, point: &'static str) -> PendingHooks {
        let hooks = self.known_document();
        let hooks = hooks.and_then(|document| document.hooks(point).ok());
        let hooks = hooks.filter(|hooks| !hooks.is_empty());
        PendingHooks(hooks.map(|hooks| {
            let mut state = self.state();
            if point == "poststop" {
                state.status = Status::Stopped;
                state.pid = 0;
            }
            (point, hooks, state)
        }))
    }
}

/// A file of the state that is written once, by which a container differs from a later one of the
/// same id.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    inode: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(directory: &Path) -> Option<Self> {
        let file = fs::symlink_metadata(directory.join(BEGIN)).ok();
        let is_file = file.is_some();
        let found = file.or_else(|| fs::symlink_metadata(directory).ok())?;
        Some(Self {
            inode: found.ino(),
            // The directory changes as long as the container is there.
            changed: match is_file {
                true => (found.mtime(), found.mtime_nsec()),
                false => (0, 0),
            },
        })
    }
}

/// Hooks that are about to run, if there are any, and the state that they are given.
struct PendingHooks(Option<(&'static str, Vec<Hook>, State)>);

impl PendingHooks {
    fn run(&self) -> Result<(), Error> {
        match &self.0 {
            Some((point, hooks, state)) => {
                hooks::run(point, hooks, hooks::Start::Wrapped, &state.bundle, state)
            }
            None => Ok(()),
        }
    }
}

/// Reads libcontainer's state of a container, with the status that was written last.
fn load(id: &str, directory: &Path) -> Result<Inner, LibcontainerError> {
    let saved = InnerState::load(directory)?;
    let mut inner = Inner::new(id, saved.status, saved.pid, directory, directory)?;
    inner.state = saved;
    Ok(inner)
}

/// Returns a container's status now. libcontainer's own look relies on `/proc`, which hides processes
/// when it is mounted with `hidepid`.
fn status_now(state: &InnerState, directory: &Path) -> ContainerStatus {
    match state.pid.map(Pid::from_raw) {
        Some(pid) if is_alive(pid) && !is_another(pid, directory) => match state.status {
            ContainerStatus::Stopped => ContainerStatus::Running,
            status => status,
        },
        _ => ContainerStatus::Stopped,
    }
}

/// Lets the first process go on. This is libcontainer's way, without its look at `/proc`.
fn begin(inner: &mut Inner, directory: &Path) -> Result<(), Error> {
    NotifySocket::new(directory.join(NOTIFY_FILE))
        .notify_container_start()
        .map_err(|error| Error::library("start the container", &error))?;
    inner.set_status(ContainerStatus::Running);
    save(&inner.state, directory)
}

/// Writes libcontainer's state. libcontainer itself empties the file first: if it were killed then,
/// nobody would know of the container any more.
fn save(state: &InnerState, directory: &Path) -> Result<(), Error> {
    let text = serde_json::to_vec(state)
        .map_err(|error| Error::library("write the container's state", &error))?;
    write_whole(&InnerState::file_path(directory), &text)
}

/// Returns the name of a user, or its number if it has no name.
fn owner(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let line = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&number));
    line.and_then(|line| line.split(':').next())
        .map_or(number, str::to_owned)
}
