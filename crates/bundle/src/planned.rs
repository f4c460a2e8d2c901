//! A mount on its way to the specification.

use std::path::{Path, PathBuf};

/// A mount that is not yet converted to one of the specification's.
pub(crate) struct Planned {
    pub(crate) destination: PathBuf,
    pub(crate) source: PathBuf,
    pub(crate) kind: &'static str,
    pub(crate) options: Vec<String>,
    /// Whether the source is a directory; `None` if the mount is not a bind.
    pub(crate) directory: Option<bool>,
    /// Whether a link at the destination is mounted on instead of followed.
    pub(crate) on_link: bool,
    /// Whether a container can do without it.
    pub(crate) optional: bool,
}

impl Planned {
    pub(crate) fn bind(source: &Path, destination: &Path, directory: bool) -> Self {
        Self {
            destination: destination.to_owned(),
            source: source.to_owned(),
            kind: "bind",
            // Recursive, so that mounts of the host below it are included; never setuid or device
            // nodes through it.
            options: words(&["rbind", "nosuid", "nodev"]),
            directory: Some(directory),
            on_link: false,
            optional: false,
        }
    }

    /// Marks a mount that every container gets if possible. A file replaces the image's file at its
    /// destination, even a link.
    pub(crate) fn usual(self) -> Self {
        Self {
            on_link: self.directory == Some(false),
            optional: true,
            ..self
        }
    }

    /// Makes the mount read-only, with all mounts below it.
    pub(crate) fn read_only(mut self) -> Self {
        self.options.push("rro".to_owned());
        self
    }

    pub(crate) fn device(mut self) -> Self {
        self.options = words(&["rbind", "nosuid"]);
        self
    }

    pub(crate) fn with(kind: &'static str, destination: &str, options: &[&str]) -> Self {
        Self {
            destination: destination.into(),
            source: kind.into(),
            kind,
            options: words(options),
            directory: None,
            on_link: false,
            optional: false,
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Returns a mount of an empty directory of the container's own.
pub(crate) fn empty(path: &Path, mode: &str, size: Option<u64>) -> Planned {
    let mode = format!("mode={mode}");
    let size = size.map(|size| format!("size={size}"));
    let options = ["nosuid", "nodev", &mode].into_iter();
    let options: Vec<&str> = options.chain(size.as_deref()).collect();
    Planned::with("tmpfs", &path.to_string_lossy(), &options)
}
