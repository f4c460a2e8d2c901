//! What a session is made from, and what is told while it is.

use std::fmt;
use std::path::{Path, PathBuf};

use image::RootFs;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::{Instance, Layout, Observer};

/// What a session is made from.
#[derive(Debug, Clone, Copy)]
pub struct SessionSpec<'a> {
    /// Where its things lie.
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
    /// Where an image is extracted that cannot be mounted.
    pub cache: &'a Path,
    /// Whether what runs in it is kept from what its user has outside.
    pub contained: bool,
    /// Whether nobody else joins it, though they ask for the same.
    pub private: bool,
    /// Whether it is for the ranks of one program alone: nobody joins it once one of them has ended, which is when the
    /// next program may begin.
    pub of_one_program: bool,
    /// What is told of it to who looks.
    pub about: &'a str,
    /// Who tells the user of its members, to their standard error.
    pub observer: Option<&'a dyn Observer>,
    /// The instance that it is, if it is to outlive its caller.
    pub instance: Option<&'a Instance>,
    /// Whether diagnostics may still be written to standard error while it is built.
    pub verbose: bool,
}

impl SessionSpec<'_> {
    /// Whether it has process ids of its own, which only children of those who enter have.
    #[must_use]
    pub fn has_own_processes(&self) -> bool {
        let linux = self.spec.linux().as_ref();
        let kinds = linux.and_then(|linux| linux.namespaces().as_ref());
        kinds.is_some_and(|kinds| kinds.iter().any(|own| own.typ() == LinuxNamespaceType::Pid))
    }
}

/// Something that happened while a session was built and that the user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The image cannot be mounted here and is being extracted.
    Extracting {
        /// Where to.
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
