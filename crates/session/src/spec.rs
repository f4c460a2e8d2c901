//! The session specification, and the notes for the user while a session is built.

use std::fmt;
use std::path::{Path, PathBuf};

use image::RootFs;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

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
    /// `config.json`.
    pub spec: &'a Spec,
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

impl SessionSpec<'_> {
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
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extracting { directory } => write!(
                f,
                "the image cannot be mounted without /dev/fuse; extracting it to {}",
                directory.display()
            ),
        }
    }
}
