//! What goes in and what comes out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use image::RootFs;
use inject::Edits;
use oci_spec::runtime::Spec;

use crate::{Account, Bind};

/// Everything that decides what the container is.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The image's root file system.
    pub root: &'a RootFs,
    /// Who runs it.
    pub account: &'a Account,
    /// What runs in it.
    pub process: &'a Process,
    /// The user's binds: those of the command line, then those of the environment.
    pub binds: &'a [Bind],
    /// What the host injects.
    pub edits: &'a Edits,
    /// Whether it gets an empty home, empty temporary directories, and no devices but those that every
    /// container has and those that are injected.
    pub contained: bool,
    /// Whether it has process ids of its own, and sees no others.
    pub own_processes: bool,
    /// Whether it has shared memory, semaphores and message queues of its own.
    pub own_ipc: bool,
    /// What the host has.
    pub host: &'a HostFacts,
    /// Where things will lie when the container is made.
    pub paths: &'a Paths,
}

/// The process of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The program and its arguments.
    pub args: Vec<OsString>,
    /// The environment, sorted by name.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Whether it keeps the caller's capabilities, as real root does.
    pub privileged: bool,
}

/// What the host has, found out before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The character and block devices in `/dev` that the caller may open.
    pub devices: Vec<Device>,
    /// The directories in `/dev` that the caller may enter.
    pub device_directories: Vec<PathBuf>,
    /// The caller's terminal, if a standard stream is one.
    pub terminal: Option<PathBuf>,
    /// The caller's working directory, to be had inside under the same path.
    pub cwd: Option<PathBuf>,
    /// The content of `/etc/resolv.conf`.
    pub resolv_conf: Option<Vec<u8>>,
    /// Of the paths that are bound by default, those that exist; see [`HostFacts::SHARED`].
    pub present: Vec<PathBuf>,
}

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its path, the same on the host and inside.
    pub path: PathBuf,
    /// Whether it is a block device.
    pub block: bool,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
}

/// Directories of every image that a bind of the host's would hide.
const SYSTEM: [&str; 12] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr",
    "/var",
];

impl HostFacts {
    /// The host's paths that every container shares: `mount tmp` and `bind path` of Apptainer's
    /// default configuration.
    pub const SHARED: [&'static str; 4] = ["/tmp", "/var/tmp", "/etc/hosts", "/etc/localtime"];

    /// Returns the caller's working directory, if a container may show it: one that every image has would
    /// be hidden.
    #[must_use]
    pub fn shown_cwd(&self) -> Option<&Path> {
        let cwd = self.cwd.as_deref()?;
        let is_system = SYSTEM.iter().any(|system| cwd == Path::new(system));
        (!is_system).then_some(cwd)
    }

    pub(crate) fn has(&self, path: &Path) -> bool {
        self.present.iter().any(|present| present == path)
    }
}

/// Where the session will have things, as absolute paths outside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The root file system.
    pub root: PathBuf,
    /// The directory of the generated files.
    pub files: PathBuf,
    /// The cgroup that the engine is told of.
    pub cgroup: PathBuf,
}

/// A bundle that is ready to be written.
#[derive(Debug)]
pub struct Bundle {
    /// `config.json`.
    pub spec: Spec,
    /// The files to be written into [`Paths::files`].
    pub files: Vec<GeneratedFile>,
    /// The mount points that the image lacks, so that it needs a layer with them.
    pub mount_points: Vec<MountPoint>,
    /// What the user should know.
    pub warnings: Vec<Warning>,
}

/// A place in the container where something is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// Its absolute path, without links.
    pub path: PathBuf,
    /// Whether it is a directory, else an empty file.
    pub directory: bool,
}

/// A file that is made for this container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Its name in [`Paths::files`].
    pub name: &'static str,
    /// Its content.
    pub content: Vec<u8>,
}

/// What the user should know, though it does not stop the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Two binds have one destination; the first wins.
    DuplicateDestination {
        /// The bind that is left out.
        source: PathBuf,
        /// Where it was to go.
        destination: PathBuf,
    },
    /// A default mount does not fit this image.
    DoesNotFit {
        /// Where it was to go.
        destination: PathBuf,
        /// The obstacle.
        reason: &'static str,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DuplicateDestination {
                source,
                destination,
            } => write!(
                f,
                "not binding {} at {}: another bind is there already",
                source.display(),
                destination.display()
            ),
            Self::DoesNotFit {
                destination,
                reason,
            } => write!(f, "not mounting on {}: {reason}", destination.display()),
        }
    }
}
