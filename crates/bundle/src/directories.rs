//! The directories of a container that do not come from its image.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The directories of a container that do not come from its image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directories {
    /// The content of the home.
    pub home: Content,
    /// The content of `/tmp`.
    pub tmp: Content,
    /// The content of `/var/tmp`.
    pub var_tmp: Content,
    /// Directories for temporary data that the user asked for.
    pub scratch: Vec<Scratch>,
    /// The default mounts that the container does not get.
    pub omitted: BTreeSet<DefaultMount>,
}

/// The content of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Content {
    /// Nothing is mounted: that of the image.
    #[default]
    Image,
    /// Nothing, and changes are lost at the end.
    Empty,
    /// A directory of the host.
    Host(PathBuf),
}

/// A directory for temporary data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scratch {
    /// The absolute path in the container.
    pub destination: PathBuf,
    /// Its content.
    pub content: Content,
    /// The largest size in bytes, if it is limited.
    pub size: Option<u64>,
}

/// A mount that every container has if the user does not refuse it. The names are Apptainer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefaultMount {
    /// `/proc`.
    Proc,
    /// `/sys`.
    Sys,
    /// The host's devices in `/dev`. Those that every container has are there in any case.
    Dev,
    /// `/dev/pts`.
    Devpts,
    /// The home directory.
    Home,
    /// `/tmp` and `/var/tmp`.
    Tmp,
    /// The caller's working directory.
    Cwd,
    /// `/etc/hosts`.
    Hosts,
    /// `/etc/localtime`.
    Localtime,
}
