//! Why an image cannot be used.

use std::io;
use std::path::PathBuf;

/// Why an image cannot be used; every variant names the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path cannot be opened.
    #[error("could not open image {}: {}", path.display(), sys::words(source))]
    Open {
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path is neither a file nor a directory.
    #[error("{} is {kind}, not an image", path.display())]
    NotAFile {
        /// The image.
        path: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// The directory has an image's layers, and not its files.
    #[error("{}: an OCI layout; it is called oci:{}", .0.display(), .0.display())]
    Layout(PathBuf),
    /// The file is a tar: of layers, or of files.
    #[error("{}: a tar; what `docker save` wrote is docker-archive:{}, and an archive of OCI's is oci-archive:{}", .0.display(), .0.display(), .0.display())]
    Tar(PathBuf),
    /// The content is of no known format.
    #[error("{}: image format not recognized; expected a SIF, a squashfs or a directory", path.display())]
    Unrecognized {
        /// The image.
        path: PathBuf,
    },
    /// The SIF cannot be read.
    #[error("{}: {source}", path.display())]
    Sif {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        source: sif::Error,
    },
    /// The SIF has no partition to start from.
    #[error("{}: the SIF has no primary system partition", path.display())]
    NoPrimaryPartition {
        /// The image.
        path: PathBuf,
    },
    /// The partition holds something that cannot be mounted.
    #[error("{}: the primary partition is {what}, which is not supported yet; only squashfs is", path.display())]
    Partition {
        /// The image.
        path: PathBuf,
        /// What it holds.
        what: &'static str,
    },
    /// The image holds a file system that has to be converted first.
    #[error("{}: an ext3 image, which has to be converted; `front build` does it", path.display())]
    Legacy {
        /// The image.
        path: PathBuf,
        /// Where in it the file system begins, in bytes.
        offset: u64,
    },
    /// The image is for another processor.
    #[error("{}: the image is for {image}, this host is {host}; use an image built for {host}, or, if it \
         is one that says so wrongly, `front build --arch {host} NEW.sif` of it", path.display())]
    Architecture {
        /// The image.
        path: PathBuf,
        /// The image's architecture.
        image: &'static str,
        /// This host's.
        host: &'static str,
    },
    /// The squashfs cannot be read.
    #[error("{}: {source}", path.display())]
    Squashfs {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        source: squashfs::Error,
    },
}
