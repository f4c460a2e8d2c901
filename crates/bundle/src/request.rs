//! The input and the output of this crate.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use inject::Edits;
use oci_spec::runtime::Spec;
use rootfs::Files;

use crate::{Account, Bind, DefaultMount, Directories};

/// The path of apt's configuration for root inside. It is in `/dev`, where no image needs a mount
/// point for it. apt finds it by the variable of the same name, apt.conf(5).
pub const APT_CONFIG: &str = "/dev/front/apt.conf";

/// Everything that determines the container.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The image's root file system.
    pub root: &'a dyn Files,
    /// The user who runs the container.
    pub account: &'a Account,
    /// The container's process.
    pub process: &'a Process,
    /// Whether the user is root inside only, and may add users.
    pub is_root_inside: bool,
    /// The user's binds: those of the command line, then those of the environment.
    pub binds: &'a [Bind],
    /// The shown parts of the images of those binds that have one, in order.
    pub images: &'a [ShownPart],
    /// The directories that every container has, and those that the user asked for.
    pub directories: &'a Directories,
    /// The host's edits.
    pub edits: &'a Edits,
    /// Whether the container has only those devices that every container has or that are injected,
    /// and is not shown the caller's working directory.
    pub contained: bool,
    /// Whether the container has process ids of its own, and sees no others.
    pub own_processes: bool,
    /// Whether the container has shared memory, semaphores and message queues of its own.
    pub own_ipc: bool,
    /// Whether the container has network interfaces of its own, which reach nobody.
    pub own_network: bool,
    /// Whether the container has a host name of its own.
    pub own_uts: bool,
    /// The container's host name, if it is not the host's.
    pub hostname: Option<&'a str>,
    /// Whether the image can be written to.
    pub writable: Writable,
    /// Facts about the host.
    pub host: &'a HostFacts,
    /// The paths that will exist when the container is made.
    pub paths: &'a Paths,
}

/// The part of an image that a bind shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownPart {
    /// Its path on the host, once the image is mounted there.
    pub path: PathBuf,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// Where a container's changes to its root go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Writable {
    /// Nowhere: the root is read-only.
    #[default]
    No,
    /// Into a layer of its own, above the image.
    Layer,
    /// Into the image. A mount point that the image lacks cannot be added.
    Image,
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
    /// The capabilities of the process, by their names in the specification.
    pub capabilities: BTreeSet<String>,
    /// Whether no exec gains further privileges.
    pub no_new_privileges: bool,
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
    /// Those of [`HostFacts::FILES`] that exist.
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
    /// The permissions of the host's node.
    pub mode: u32,
}

/// Directories of every image that a bind from the host would hide.
const SYSTEM: [&str; 12] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr",
    "/var",
];

impl HostFacts {
    /// The host's files that every container shares: `bind path` of Apptainer's default
    /// configuration.
    pub const FILES: [(&'static str, DefaultMount); 2] = [
        ("/etc/hosts", DefaultMount::Hosts),
        ("/etc/localtime", DefaultMount::Localtime),
    ];

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
    /// A default mount has no mount point in an image that is written to.
    NoMountPoint {
        /// The destination.
        destination: PathBuf,
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
            Self::NoMountPoint { destination } => write!(
                f,
                "not mounting on {}: the writable image has no such path",
                destination.display()
            ),
        }
    }
}
