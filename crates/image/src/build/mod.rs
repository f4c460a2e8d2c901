//! Making a SIF of an OCI image.

mod metadata;
mod squash;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use oci::{Blobs, Image, Merged};
use sif::{Architecture, DataType, FileSystem, NewObject, Partition, PartitionKind, Sif};

pub use squash::Compression;

/// What is made, and how.
#[derive(Debug, Clone)]
pub struct Build {
    /// Where the image came from: `docker` and `debian:12`, for the record.
    pub from: (String, String),
    /// When, in seconds since 1970.
    pub time: i64,
    /// Whether the owner may read, write and enter everything.
    pub fix_permissions: bool,
    /// How the squashfs is packed.
    pub compression: Compression,
    /// A directory with room for the squashfs while it is made.
    pub scratch: PathBuf,
}

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] oci::Error),
    /// The squashfs cannot be made.
    #[error("make the squashfs: {0}")]
    Squash(String),
    /// The SIF cannot be written.
    #[error("{}: {source}", path.display())]
    Sif {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sif::Error,
    },
    /// The cache cannot be written.
    #[error("the cache of images: {}", sys::words(.0))]
    Cache(io::Error),
    /// A file cannot be made.
    #[error("{}: {}", path.display(), sys::words(source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The SIF's one group.
const GROUP: Option<u32> = Some(1);

impl From<io::Error> for BuildError {
    fn from(source: io::Error) -> Self {
        Self::Cache(source)
    }
}

impl Build {
    /// Returns what tells a SIF that is made so of this image from all others.
    #[must_use]
    pub fn name(&self, image: &Image) -> String {
        let layers: Vec<String> = image
            .layers
            .iter()
            .map(|layer| layer.digest.to_string())
            .collect();
        let text = format!(
            "{} {:?} {} {}\n{}",
            env!("CARGO_PKG_VERSION"),
            self.compression,
            self.fix_permissions,
            oci::Digest::of(&image.config_text),
            layers.join("\n")
        );
        oci::Digest::of(text.as_bytes()).hex().to_owned()
    }

    /// Makes a SIF of an image, whole or not at all. What is left out of it is returned, for the user to
    /// know.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged, or something cannot be written.
    pub fn sif(
        &self,
        image: &Image,
        blobs: &dyn Blobs,
        output: &Path,
    ) -> Result<Option<String>, BuildError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| BuildError::File { path, source }
        };
        let mut merged = Merged::new(image, blobs)?;
        let record = metadata::Record::new(&image.config, self);
        let ours = record
            .layer(|name| merged.has(name))
            .map_err(file(output))?;
        merged.put_on_top(image, &ours)?;
        let squashfs = tempfile::Builder::new()
            .prefix(".front-")
            .suffix(".squashfs")
            .tempfile_in(&self.scratch)
            .map_err(file(&self.scratch))?;
        squash::squash(squashfs.path(), self.compression, self.time, |tar| {
            merged.write(image, blobs, &ours, self.fix_permissions, tar)
        })?;
        let directory = match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let part = tempfile::Builder::new()
            .prefix(".front-")
            .suffix(".sif")
            .tempfile_in(directory)
            .map_err(file(directory))?;
        let content = File::open(squashfs.path()).map_err(file(squashfs.path()))?;
        self.write_sif(image, &record, content, part.as_file())
            .map_err(|source| BuildError::Sif {
                path: output.to_owned(),
                source,
            })?;
        make_program(part.path()).map_err(file(output))?;
        part.persist(output)
            .map_err(|error| file(output)(error.error))?;
        Ok(merged.notes())
    }

    fn write_sif(
        &self,
        image: &Image,
        record: &metadata::Record,
        mut squashfs: File,
        output: &File,
    ) -> Result<(), sif::Error> {
        let mut sif = Sif::create(
            output,
            sif::LAUNCH,
            uuid(&image.config_text, self),
            self.time,
        )?;
        let object = |data, name: &str| NewObject {
            data,
            group: GROUP,
            link: None,
            name: name.to_owned(),
        };
        let mut add = |data, name: &str, content: &mut dyn io::Read| {
            let mut content = content;
            sif.add(output, object(data, name), &mut content, self.time)
        };
        add(
            DataType::Definition,
            "",
            &mut record.definition().as_bytes(),
        )?;
        let inspected = record.inspected();
        add(
            DataType::GenericJson,
            "inspect-metadata.json",
            &mut inspected.as_bytes(),
        )?;
        let partition = Partition {
            file_system: FileSystem::Squashfs,
            kind: PartitionKind::PrimarySystem,
            architecture: Architecture::from_name(&image.config.architecture().to_string()),
        };
        add(DataType::Partition(partition), "", &mut squashfs)?;
        Ok(())
    }
}

/// A SIF is a program: its first line names the one that runs it.
fn make_program(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    fs::set_permissions(path, fs::Permissions::from_mode(0o777 & !mask.bits()))
}

/// The image's identity: the same for the same content and time, in the form of a random one (RFC 9562,
/// version 8).
fn uuid(config: &[u8], build: &Build) -> [u8; 16] {
    let text = [config, &build.time.to_le_bytes(), build.from.1.as_bytes()].concat();
    let digest = oci::Digest::of(&text);
    let mut uuid = [0; 16];
    for (byte, digits) in uuid.iter_mut().zip(digest.hex().as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}
