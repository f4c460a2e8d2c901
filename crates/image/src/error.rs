//! Why an image cannot be used.

use std::io;
use std::path::PathBuf;

/// Why an image cannot be used. Every variant names the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path cannot be opened.
    #[error("could not open image {}", path.display())]
    Open {
        /// The image.
        path: PathBuf,
        /// Why it cannot be opened.
        source: io::Error,
    },
    /// The path is neither a file nor a directory.
    #[error("{} is {kind}, not an image", path.display())]
    NotAFile {
        /// The image.
        path: PathBuf,
        /// The kind of the path.
        kind: &'static str,
    },
    /// The directory is an OCI layout: it has an image's layers, not its files.
    #[error("{}: an OCI layout; it is called oci:{}", .0.display(), .0.display())]
    Layout(PathBuf),
    /// The file is a tar, of layers or of files.
    #[error("{}: a tar; what `docker save` wrote is docker-archive:{}, and an archive of OCI's is oci-archive:{}", .0.display(), .0.display(), .0.display())]
    Tar(PathBuf),
    /// The content has no known format.
    #[error("{}: image format not recognized; expected a SIF, a squashfs or a directory; of a definition file, make one first: front build NEW.sif {}", path.display(), path.display())]
    Unrecognized {
        /// The image.
        path: PathBuf,
    },
    /// The SIF cannot be read.
    #[error("{}", path.display())]
    Sif {
        /// The image.
        path: PathBuf,
        /// Why it cannot be read.
        source: sif::Error,
    },
    /// The SIF has no primary system partition.
    #[error("{}: the SIF has no primary system partition", path.display())]
    NoPrimaryPartition {
        /// The image.
        path: PathBuf,
    },
    /// The SIF has no partition with data.
    #[error("{}: the SIF has no such partition with a squashfs; `front sif list` shows its parts", path.display())]
    NoPartition {
        /// The image.
        path: PathBuf,
    },
    /// The partition's file system cannot be mounted.
    #[error("{}: the primary partition is {what}, which is not supported yet; only squashfs is", path.display())]
    Partition {
        /// The image.
        path: PathBuf,
        /// The content of the partition.
        what: &'static str,
    },
    /// The image has a file system that must be converted first.
    #[error("{}: an ext3 image, which has to be converted; `front build` does it", path.display())]
    Legacy {
        /// The image.
        path: PathBuf,
        /// The offset of the file system in the image, in bytes.
        offset: u64,
    },
    /// The image is for another architecture.
    #[error("{}: the image is for {image}, this host is {host}; use an image built for {host}, or, if it \
         is one that says so wrongly, `front build --arch {host} NEW.sif` of it", path.display())]
    Architecture {
        /// The image.
        path: PathBuf,
        /// The image's architecture.
        image: &'static str,
        /// This host's architecture.
        host: &'static str,
    },
    /// The squashfs cannot be read.
    #[error("{}", path.display())]
    Squashfs {
        /// The image.
        path: PathBuf,
        /// Why it cannot be read.
        source: squashfs::Error,
    },
}
