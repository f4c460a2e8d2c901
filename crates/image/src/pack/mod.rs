//! Making images: a SIF or a directory, of an OCI image or of another image's files.

mod crowded;
mod ext;
mod library;
mod metadata;
mod output;
mod sandbox;
mod squash;
mod tree;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use oci::{Blobs, Flat, Image, Merged};
use registry::Progress;
use sif::{Architecture, DataType, FileSystem, NewObject, Partition, PartitionKind, Sif};

use metadata::Record;
pub use output::{whole_content, whole_directory, whole_file};
pub use squash::Compression;
use squash::Input;

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
    /// A directory with room for what is needed only for a while.
    pub scratch: PathBuf,
    /// Go's name of the architecture that the programs are for, whatever the image says.
    pub architecture: Option<String>,
}

/// Why an image could not be had or built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] oci::Error),
    /// The image that is to be built of cannot be opened.
    #[error(transparent)]
    Open(#[from] crate::Error),
    /// It cannot be had from the network.
    #[error(transparent)]
    Network(#[from] registry::Error),
    /// The source is no SIF.
    #[error("{0}: there is no SIF; an image that was pushed with docker or podman is docker://")]
    NoSif(String),
    /// The source has no layers.
    #[error("{0}: a SIF, which has no layers")]
    NoLayers(String),
    /// There is no library.
    #[error(
        "library://{0}: no library is configured; --library ADDRESS or FRONT_LIBRARY names one"
    )]
    NoLibrary(String),
    /// The squashfs cannot be made.
    #[error("make the squashfs: {0}")]
    Squash(String),
    /// The squashfs that is to be built of cannot be unpacked.
    #[error("unpack {}: {source}", path.display())]
    Unpack {
        /// The image.
        path: PathBuf,
        /// Why.
        source: squashfs::Error,
    },
    /// The SIF cannot be written.
    #[error("{}: {source}", path.display())]
    Sif {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sif::Error,
    },
    /// The directory that is to give way is none of an image.
    #[error("{}: a directory, and no image: it is not overwritten, even with --force; remove it yourself", .0.display())]
    NoSandbox(PathBuf),
    /// The cache cannot be written.
    #[error("the cache of images: {}", sys::words(.0))]
    Cache(#[from] io::Error),
    /// A file cannot be made.
    #[error("{}: {}", path.display(), sys::words(source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl BuildError {
    /// Whether it is the network that fails, and not what is behind it.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Network(error) => error.is_unreachable(),
            Self::Image(oci::Error::Fetch(error)) => error
                .downcast_ref::<registry::Error>()
                .is_some_and(registry::Error::is_unreachable),
            _ => false,
        }
    }

    /// The tar cannot be handed on.
    fn written(error: io::Error) -> Self {
        Self::Image(oci::Error::Write(error))
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}

/// Returns the first cause of an error; the errors around it name paths of the moment.
pub(crate) fn root_cause(error: io::Error) -> io::Error {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut code = None;
    while let Some(error) = next {
        let found = error.downcast_ref::<io::Error>();
        code = found.and_then(io::Error::raw_os_error).or(code);
        next = match found.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    code.map_or(error, io::Error::from_raw_os_error)
}

/// The SIF's one group.
const GROUP: Option<u32> = Some(1);

impl Build {
    /// Returns what of the making is seen in what is made, and not in the image.
    #[must_use]
    pub fn manner(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let architecture = self.architecture.as_deref().unwrap_or_default();
        format!(
            "{version} {:?} {} {architecture}",
            self.compression, self.fix_permissions
        )
    }

    /// The architecture of an image that says it is for `said`, or nothing.
    fn architecture_of<'a>(&'a self, said: &'a str) -> &'a str {
        match (self.architecture.as_deref(), said) {
            (Some(architecture), _) => architecture,
            (None, "") => crate::platform::host_architecture().unwrap_or_default(),
            (None, said) => said,
        }
    }

    /// Returns what tells a SIF that is made so of this image from all others.
    #[must_use]
    pub fn name(&self, image: &Image) -> String {
        let layers: Vec<String> = image
            .layers
            .iter()
            .map(|layer| layer.digest.to_string())
            .collect();
        let text = format!(
            "{}\n{}\n{}",
            self.manner(),
            oci::Digest::of(&image.config_text),
            layers.join("\n")
        );
        oci::Digest::of(text.as_bytes()).hex().to_owned()
    }

    /// Makes a SIF of an image at a path. What is left out of it is returned, for the user to know.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged, or something cannot be written; what is at the path then is worth
    /// nothing.
    pub fn sif(
        &self,
        image: &Image,
        blobs: &dyn Blobs,
        output: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<String>, BuildError> {
        let (merged, record, ours) = self.merge(image, blobs, output)?;
        let said = image.config.architecture.as_str();
        let architecture = self.architecture_of(said);
        if !said.is_empty() && said != architecture {
            progress.note(&format!(
                "the image says that it is for {said}; it is taken to be for {architecture}"
            ));
        }
        let architecture = Architecture::from_name(architecture);
        let told = Told::new(progress, Some(merged.size()));
        let fullest = merged.fullest();
        self.assemble(
            &record,
            architecture,
            output,
            progress,
            fullest,
            &mut |tar| {
                merged.write(image, blobs, &ours, self.flat(), told.writer(tar))?;
                Ok(())
            },
        )?;
        Ok(merged.notes())
    }

    /// An image's layers as one tree with our record's files on top, and those files.
    fn merge(
        &self,
        image: &Image,
        blobs: &dyn Blobs,
        output: &Path,
    ) -> Result<(Merged, Record, Vec<u8>), BuildError> {
        blobs.prepare(&image.layers)?;
        let mut merged = Merged::new(image, blobs)?;
        let record = Record::of_image(&image.config, self);
        let ours = record
            .layer(|name| merged.place(name))
            .map_err(BuildError::file(output))?;
        merged.put_on_top(image, &ours)?;
        Ok((merged, record, ours))
    }

    fn flat(&self) -> Flat {
        Flat {
            fix_permissions: self.fix_permissions,
        }
    }

    /// Makes a SIF of the files below a directory at a path. What is left out of it is returned.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read, or something cannot be written; what is at the path then is worth
    /// nothing.
    pub fn sif_of_directory(
        &self,
        directory: &Path,
        output: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<String>, BuildError> {
        let root = crate::Image::open(directory)?.root;
        let record = Record::of_files(directory, &root, self)?;
        let architecture = Architecture::from_name(self.architecture_of(""));
        let told = Told::new(progress, None);
        let mut notes = None;
        let fullest = tree::fullest(directory);
        self.assemble(
            &record,
            architecture,
            output,
            progress,
            fullest,
            &mut |tar| {
                notes = tree::write(directory, &root, &record, self.flat(), told.writer(tar))?;
                Ok(())
            },
        )?;
        Ok(notes)
    }

    /// Makes a SIF, at a path, of the ext2, ext3 or ext4 that lies `offset` bytes into a file. What is left
    /// out of it is returned.
    ///
    /// # Errors
    ///
    /// Fails when the file system is damaged, or something cannot be written; what is at the path then is
    /// worth nothing.
    pub fn sif_of_ext(
        &self,
        path: &Path,
        offset: u64,
        output: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<String>, BuildError> {
        let ext = ext::Ext::open(path, offset)?;
        let record = Record::of_files(path, &ext, self)?;
        let architecture = Architecture::from_name(self.architecture_of(""));
        let told = Told::new(progress, None);
        let mut notes = None;
        self.assemble(&record, architecture, output, progress, 0, &mut |tar| {
            notes = ext.write(&record, self.flat(), told.writer(tar))?;
            Ok(())
        })?;
        Ok(notes)
    }

    /// The squashfs first, where it will lie; the rest of the SIF around it. `fullest`: how many names a
    /// directory has at most, as far as that is known.
    fn assemble(
        &self,
        record: &Record,
        architecture: Option<Architecture>,
        output: &Path,
        progress: &dyn Progress,
        fullest: usize,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let definition = record.definition().into_bytes();
        let inspected = record.inspected().into_bytes();
        let offset = sif::partition_offset(&[definition.len() as u64, inspected.len() as u64]);
        if squash::is_installed() {
            let (compression, time, scratch) = (self.compression, self.time, &self.scratch);
            let is_packed = fullest >= crowded::CROWD
                && crowded::pack(output, offset, compression, time, scratch, write)?;
            if !is_packed {
                squash::pack(Input::Tar(write), output, offset, compression, time)?;
            }
        } else {
            progress.note(
                "mksquashfs 4.5 or later (squashfs-tools) is not installed: packing takes longer",
            );
            let (compression, time) = (self.compression, self.time);
            library::pack(output, offset, compression, time, &self.scratch, write)?;
        }
        let file = File::options()
            .read(true)
            .write(true)
            .open(output)
            .map_err(BuildError::file(output))?;
        let objects = [
            (DataType::Definition, "", definition),
            (DataType::GenericJson, "inspect-metadata.json", inspected),
        ];
        self.write_sif(objects, architecture, &file)
            .map_err(|source| BuildError::Sif {
                path: output.to_owned(),
                source,
            })?;
        make_program(output)
    }

    fn write_sif(
        &self,
        objects: [(DataType, &str, Vec<u8>); 2],
        architecture: Option<Architecture>,
        output: &File,
    ) -> Result<(), sif::Error> {
        let object = |data, name: &str| NewObject {
            data,
            group: GROUP,
            link: None,
            name: name.to_owned(),
        };
        let contents: Vec<&[u8]> = objects.iter().map(|one| one.2.as_slice()).collect();
        let identity = uuid(&contents, self.time);
        let mut sif = Sif::create(output, sif::LAUNCH, identity, self.time)?;
        for (data, name, content) in objects {
            sif.add(
                output,
                object(data, name),
                &mut content.as_slice(),
                self.time,
            )?;
        }
        let partition = Partition {
            file_system: FileSystem::Squashfs,
            kind: PartitionKind::PrimarySystem,
            architecture,
        };
        let partition = object(DataType::Partition(partition), "");
        sif.add_in_place(output, partition, self.time)?;
        Ok(())
    }

    /// Makes a directory of an image's files, in a directory that is empty. What is left out of it is
    /// returned.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged, or something cannot be written.
    pub fn sandbox(
        &self,
        image: &Image,
        blobs: &dyn Blobs,
        output: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<String>, BuildError> {
        let (merged, _, ours) = self.merge(image, blobs, output)?;
        let told = Told::new(progress, Some(merged.size()));
        sandbox::unpack(output, |tar| {
            merged.write(image, blobs, &ours, self.flat(), told.writer(tar))?;
            Ok(())
        })?;
        Ok(merged.notes())
    }
}

/// Tells how much of a tar was packed.
struct Told(Box<dyn registry::Task>);

impl Told {
    fn new(progress: &dyn Progress, total: Option<u64>) -> Self {
        Self(progress.begin("squashfs", total))
    }

    fn writer<'a>(&'a self, inner: &'a mut dyn Write) -> impl Write + 'a {
        struct Teller<'a>(&'a mut dyn Write, &'a dyn registry::Task);
        impl Write for Teller<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let count = self.0.write(bytes)?;
                self.1.advance(count as u64);
                Ok(count)
            }
            fn flush(&mut self) -> io::Result<()> {
                self.0.flush()
            }
        }
        Teller(inner, self.0.as_ref())
    }
}

/// A SIF is a program: its first line names the one that runs it.
pub(crate) fn make_program(path: &Path) -> Result<(), BuildError> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    let mode = fs::Permissions::from_mode(0o777 & !mask.bits());
    fs::set_permissions(path, mode).map_err(BuildError::file(path))
}

/// The image's identity: the same for the same content and time, in the form of a random one (RFC 9562,
/// version 8).
fn uuid(contents: &[&[u8]], time: i64) -> [u8; 16] {
    let mut text = time.to_le_bytes().to_vec();
    for content in contents {
        text.extend(*content);
    }
    let mut uuid = [0; 16];
    let digest = oci::Digest::of(&text);
    for (byte, digits) in uuid.iter_mut().zip(digest.hex().as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}
