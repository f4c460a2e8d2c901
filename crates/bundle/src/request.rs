//! The input and the output of this crate.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use inject::Edits;
use oci_spec::runtime::Spec;
use rootfs::Files;

use crate::{Account, Bind};

/// Everything that determines the container.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The image's root file system.
    pub root: &'a dyn Files,
    /// The user who runs the container.
    pub account: &'a Account,
    /// The container's process.
    pub process: &'a Process,
    /// The user's binds: those of the command line, then those of the environment.
    pub binds: &'a [Bind],
    /// The host's edits.
    pub edits: &'a Edits,
    /// Whether the container has an empty home, empty temporary directories, and only those devices
    /// that every container has or that are injected.
    pub contained: bool,
    /// Whether the container has process ids of its own, and sees no others.
    pub own_processes: bool,
    /// Whether the container has shared memory, semaphores and message queues of its own.
    pub own_ipc: bool,
    /// Facts about the host.
    pub host: &'a HostFacts,
    /// The paths that will exist when the container is made.
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
    /// Whether the process keeps the caller's capabilities, as real root does.
    pub privileged: bool,
}

/// Facts about the host, found out before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The character and block devices in `/dev` that the caller may open.
    pub devices: Vec<Device>,
    /// The directories in `/dev` that the caller may enter.
    pub device_directories: Vec<PathBuf>,
    /// The caller's terminal, if a standard stream is one.
    pub terminal: Option<PathBuf>,
    /// The caller's working directory, which should be available inside under the same path.
    pub cwd: Option<PathBuf>,
    /// The content of `/etc/resolv.conf`.
    pub resolv_conf: Option<Vec<u8>>,
    /// Those default paths that exist; see [`HostFacts::SHARED`].
    pub present: Vec<PathBuf>,
}

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The device's path, the same on the host and inside.
    pub path: PathBuf,
    /// Whether the device is a block device.
    pub block: bool,
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
}

/// Directories of every image that a bind from the host would hide.
const SYSTEM: [&str; 12] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr",
    "/var",
];

impl HostFacts {
    /// The host's paths that every container shares: `mount tmp` and `bind path` of Apptainer's
    /// default configuration.
    pub const SHARED: [&'static str; 4] = ["/tmp", "/var/tmp", "/etc/hosts", "/etc/localtime"];

    /// Returns the caller's working directory, if a container may show it. A directory that every
    /// image has is left out, because the image's would be hidden.
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

/// The paths of the session's files, absolute and outside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The root file system.
    pub root: PathBuf,
    /// The directory of the generated files.
    pub files: PathBuf,
    /// The path of the cgroup for the engine.
    pub cgroup: PathBuf,
}

/// A bundle that is ready to be written.
#[derive(Debug)]
pub struct Bundle {
    /// `config.json`.
    pub spec: Spec,
    /// The files to be written into [`Paths::files`].
    pub files: Vec<GeneratedFile>,
    /// The mount points that the image lacks. It needs a layer with them.
    pub mount_points: Vec<MountPoint>,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

/// A mount point in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// The absolute path, without links.
    pub path: PathBuf,
    /// Whether the mount point is a directory; otherwise it is an empty file.
    pub directory: bool,
}

/// A file that is made for this container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    /// The file's name in [`Paths::files`].
    pub name: &'static str,
    /// The file's content.
    pub content: Vec<u8>,
}

/// A message for the user that does not stop the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Two binds have the same destination; the first wins.
    DuplicateDestination {
        /// The bind that is left out.
        source: PathBuf,
        /// The destination.
        destination: PathBuf,
    },
    /// A default mount does not fit this image.
    DoesNotFit {
        /// The destination.
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
