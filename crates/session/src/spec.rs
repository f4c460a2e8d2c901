//! The session specification, and the notes for the user while a session is built.

use std::fmt;
use std::path::{Path, PathBuf};

use image::RootFs;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rootfs::Directory;

use crate::{Instance, Layout, Observer};

/// Everything that a session is made of.
#[derive(Debug, Clone, Copy)]
pub struct SessionSpec<'a> {
    /// The paths of the session's files.
    pub layout: &'a Layout,
    /// The image.
    pub root: &'a RootFs,
    /// The mount points that the image lacks: absolute paths without links, and whether each is a
    /// directory.
    pub mount_points: &'a [(&'a Path, bool)],
    /// Layers above the image, the topmost first.
    pub layers: &'a [RootFs],
    /// Where changes to the root go; `None` if the root is not an overlay that can be written to.
    pub changes: Option<Changes<'a>>,
    /// Images whose files are bound, which are mounted at [`Layout::data`].
    pub data: &'a [RootFs],
    /// The users inside.
    pub users: Users<'a>,
    /// `config.json`.
    pub spec: &'a Spec,
    /// The caller's working directory, which may be bound.
    pub here: Option<WorkingDirectory<'a>>,
    /// Names and contents of the files in [`Layout::files`].
    pub files: &'a [(&'a str, &'a [u8])],
    /// The directory to which an image is extracted if it cannot be mounted.
    pub cache: &'a Path,
    /// Whether processes in the session are kept from their user's things outside.
    pub contained: bool,
    /// Whether nobody else joins the session, even with the same request.
    pub private: bool,
    /// Whether the session is for the ranks of one program only. Nobody joins it once one of them
    /// has ended, because the next program may then begin.
    pub of_one_program: bool,
    /// The description of the session, for those who list sessions.
    pub about: &'a str,
    /// The observer that reports on the members, on their standard error.
    pub observer: Option<&'a dyn Observer>,
    /// The instance, if the session is to outlive its caller.
    pub instance: Option<&'a Instance>,
    /// Whether diagnostics may still be written to standard error while the session is built.
    pub verbose: bool,
}

/// The caller's working directory.
#[derive(Debug, Clone, Copy)]
pub struct WorkingDirectory<'a> {
    /// The path on which the caller entered it.
    pub path: &'a Path,
    /// Its device and inode, which its path may no longer lead to.
    pub identity: (u64, u64),
}

/// Where the changes to a root go, above all its layers.
#[derive(Debug, Clone, Copy)]
pub enum Changes<'a> {
    /// Into memory, at most this number of bytes, or half of the machine's.
    Memory(Option<u64>),
    /// Into a directory of the host, which keeps them.
    Directory(&'a Directory),
}

/// The users in a session's user namespace. Real root's sessions have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users<'a> {
    /// The caller.
    Caller,
    /// Root, who is the caller outside.
    Root,
    /// Root, who is the caller outside, and the users that the system has delegated to the caller,
    /// who has this name ([subuid(5)]).
    ///
    /// [subuid(5)]: https://man7.org/linux/man-pages/man5/subuid.5.html
    Delegated(&'a str),
}

impl SessionSpec<'_> {
    /// Whether the root consists of several layers.
    pub(crate) fn has_overlay(&self) -> bool {
        !self.mount_points.is_empty() || !self.layers.is_empty() || self.changes.is_some()
    }

    /// Returns the images that a server may have to serve: the root, the layers and the data.
    pub(crate) fn images(&self) -> impl Iterator<Item = &RootFs> {
        [self.root].into_iter().chain(self.layers).chain(self.data)
    }

    /// Whether the session has process ids of its own, which only children of an entering process
    /// get.
    #[must_use]
    pub fn has_own_processes(&self) -> bool {
        let linux = self.spec.linux().as_ref();
        let kinds = linux.and_then(|linux| linux.namespaces().as_ref());
        kinds.is_some_and(|kinds| kinds.iter().any(|own| own.typ() == LinuxNamespaceType::Pid))
    }
}

/// An event during the building of a session that the user should know about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The image cannot be mounted here and is being extracted.
    Extracting {
        /// The target directory.
        directory: PathBuf,
    },
    /// The caller's delegated users are not available.
    OnlyRoot {
        /// The reason.
        reason: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extracting { directory } => write!(
                f,
                "the image cannot be mounted without /dev/fuse; extracting it to {}",
                directory.display()
            ),
            Self::OnlyRoot { reason } => {
                write!(
                    f,
                    "{reason}; root is the only user inside, who owns all files"
                )
            }
        }
    }
}
