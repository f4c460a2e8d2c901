//! Why a request cannot become a bundle.

use std::io;
use std::path::PathBuf;

/// Why a request cannot become a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A bind has more than three parts.
    #[error("bad bind syntax {0:?}: expected SOURCE[:DESTINATION[:OPTIONS]]")]
    BindSyntax(String),
    /// The third part of a bind is not an option.
    #[error(
        "{option} is not a valid bind option in {bind:?}; known are ro, rw, image-src=PATH and id=NUMBER"
    )]
    BindOption {
        /// The bind.
        bind: String,
        /// The word.
        option: String,
    },
    /// The number of a partition is none.
    #[error("{0}: expected id=NUMBER")]
    PartitionNumber(String),
    /// A mount of `--mount` is not understood.
    #[error("--mount {mount}: {reason}")]
    MountSyntax {
        /// The mount.
        mount: String,
        /// The reason.
        reason: String,
    },
    /// A bind has an empty source: `:DST`.
    #[error("bind {0:?}: the source is empty")]
    NoSource(String),
    /// A bind has an empty destination: `SRC:`.
    #[error("bind {0:?}: the destination is empty")]
    NoDestination(String),
    /// A destination does not begin with a slash.
    #[error("bind destination {} must be an absolute path", .0.display())]
    RelativeDestination(PathBuf),
    /// The destination is `/` or `/dev`.
    #[error("{} cannot be bound over {}", source_path.display(), destination.display())]
    Forbidden {
        /// The source of the bind.
        source_path: PathBuf,
        /// The destination of the bind.
        destination: PathBuf,
    },
    /// A directory was to be bound onto a file, or a file onto a directory.
    #[error("could not mount {} at {}: {reason}", source_path.display(), destination.display())]
    TypeMismatch {
        /// The source of the bind.
        source_path: PathBuf,
        /// The destination of the bind.
        destination: PathBuf,
        /// The kinds of the source and the destination.
        reason: &'static str,
    },
    /// A mount point is missing in an image that is written to.
    #[error("could not mount at {}: the writable image has no such path; make it there first", destination.display())]
    NoMountPoint {
        /// The destination.
        destination: PathBuf,
    },
    /// The image could not be read.
    #[error("read {} in the image", path.display())]
    Image {
        /// The path in the image.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The document could not be assembled.
    #[error("write config.json")]
    Spec(#[from] oci_spec::OciSpecError),
}
