//! Making images: a SIF or a directory, from an OCI image or from another image's files.

#![forbid(unsafe_code)]

mod crowded;
mod error;
mod ext;
mod library;
mod metadata;
mod output;
mod sandbox;
mod scripts;
mod squash;
mod tree;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use oci::{Blobs, Flat, Image, Merged};
use progress::{Progress, Task};
use sif::{Architecture, DataType, FileSystem, NewObject, Partition, PartitionKind, Sif};

pub use error::Error;
use metadata::Record;
pub use metadata::{described, label_date};
pub use output::{OutputError, remove_abandoned, whole_content, whole_directory, whole_file};
pub use scripts::{APPLICATIONS, LAST, actions};
pub use squash::Compression;
use squash::{Input, Packing};

/// The parameters of a build.
#[derive(Debug, Clone)]
pub struct Build {
    /// The origin of the image, for the record: `docker` and `debian:12`.
    pub from: (String, String),
    /// The time of the build, in seconds since 1970.
    pub time: i64,
    /// Whether newer files of a directory get this time, so that the build can be repeated.
    pub is_repeatable: bool,
    /// Whether the owner gets permission to read, write and enter everything.
    pub fix_permissions: bool,
    /// Whether files keep their owners, who are root's to give. Else all belong to root.
    pub keeps_owners: bool,
    /// The compression of the squashfs.
    pub compression: Compression,
    /// More arguments for mksquashfs.
    pub mksquashfs_arguments: Vec<String>,
    /// A directory for temporary files.
    pub scratch: PathBuf,
    /// Go's name of the programs' architecture, which overrides that of the image.
    pub architecture: Option<String>,
}

/// Returns the innermost cause of an error. The errors around it contain temporary paths.
#[must_use]
pub fn root_cause(error: io::Error) -> io::Error {
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

/// The only group of the SIF.
const GROUP: Option<u32> = Some(1);

impl Build {
    /// Returns the parameters that affect the result and are not part of the image.
    #[must_use]
    pub fn manner(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let architecture = self.architecture.as_deref().unwrap_or_default();
        format!(
            "{version} {:?} {} {architecture}",
            self.compression, self.fix_permissions
        )
    }

    /// Returns the architecture of an image that states `said`, which may be empty.
    fn architecture_of<'a>(&'a self, said: &'a str) -> &'a str {
        match (self.architecture.as_deref(), said) {
            (Some(architecture), _) => architecture,
            (None, "") => image::host_architecture().unwrap_or_default(),
            (None, said) => said,
        }
    }

    /// Returns a name that identifies the SIF that this build makes from an image.
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

    /// Makes a SIF from an image at a path. Returns a message for the user about entries that were
    /// left out.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged, or a file cannot be written; the file at the path is then
    /// unusable.
    pub fn sif(
        &self,
        image: &Image,
        blobs: &dyn Blobs,
        output: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<String>, Error> {
        let (merged, record, ours) = self.merge(image, blobs, output)?;
        let said = image.config.architecture.as_str();
        let architecture = self.architecture_of(said);
        if !said.is_empty() && said != architecture {
            progress.note(&format!(
                "the image says that it is for {said}; it is taken to be for {architecture}"
            ));
        }
        let architecture = Architecture::from_name(architecture);
        let told = Progressed::new(progress, Some(merged.size()));
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

    /// Returns an image's layers as one tree with our record's files on top, and those files.
    fn merge(
        &self,
        image: &Image,
        blobs: &dyn Blobs,
        output: &Path,
    ) -> Result<(Merged, Record, Vec<u8>), Error> {
        blobs.prepare(&image.layers)?;
        let mut merged = Merged::new(image, blobs)?;
        let record = Record::of_image(&image.config, self);
        let ours = record
            .layer(|name| merged.place(name))
            .map_err(Error::file(output))?;
        merged.put_on_top(image, &ours)?;
        Ok((merged, record, ours))
    }

    fn flat(&self) -> Flat {
        Flat {
            fix_permissions: self.fix_permissions,
            keeps_owners: self.keeps_owners,
            newest: None,
        }
    }

    /// Makes a SIF at a path from the files below a directory. Returns a message about entries that
    /// were left out.
    ///
    /// # Errors
    ///
    /// Fails when a file cannot be read or written; the file at the path is then unusable.
    pub fn sif_of_directory(
        &self,
        directory: &Path,
        output: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<String>, Error> {
        let root = image::Image::open(directory)?.root;
        let record = Record::of_files(directory, &root, self)?;
        let architecture = Architecture::from_name(self.architecture_of(""));
        let told = Progressed::new(progress, None);
        let mut notes = None;
        let fullest = tree::fullest(directory);
        // Images of other sources have the times of their layers.
        let newest = u64::try_from(self.time).unwrap_or(0);
        let flat = Flat {
            newest: self.is_repeatable.then_some(newest),
            ..self.flat()
        };
        self.assemble(
            &record,
            architecture,
            output,
            progress,
            fullest,
            &mut |tar| {
                notes = tree::write(directory, &root, &record, flat, told.writer(tar))?;
                Ok(())
            },
        )?;
        Ok(notes)
    }

    /// Makes a SIF at a path from the ext2, ext3 or ext4 that begins at byte `offset` of a file.
    /// Returns a message about entries that were left out.
    ///
    /// # Errors
    ///
    /// Fails when the file system is damaged, or a file cannot be written; the file at the path is
    /// then unusable.
    pub fn sif_of_ext(
        &self,
        path: &Path,
        offset: u64,
        output: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<String>, Error> {
        let ext = ext::Ext::open(path, offset)?;
        let record = Record::of_files(path, &ext, self)?;
        let architecture = Architecture::from_name(self.architecture_of(""));
        let told = Progressed::new(progress, None);
        let mut notes = None;
        self.assemble(&record, architecture, output, progress, 0, &mut |tar| {
            notes = ext.write(&record, self.flat(), told.writer(tar))?;
            Ok(())
        })?;
        Ok(notes)
    }

    /// Writes the squashfs first, at its final position, and then the rest of the SIF around it.
    /// `fullest` is the number of names in the fullest directory, as far as that is known.
    fn assemble(
        &self,
        record: &Record,
        architecture: Option<Architecture>,
        output: &Path,
        progress: &dyn Progress,
        fullest: usize,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let definition = record.definition().into_bytes();
        let inspected = record.inspected().into_bytes();
        let offset = sif::partition_offset(&[definition.len() as u64, inspected.len() as u64]);
        if squash::is_installed() {
            let packing = Packing {
                compression: self.compression,
                time: self.time,
                more: &self.mksquashfs_arguments,
            };
            // The way for crowded directories loses owners.
            let is_packed = !self.keeps_owners
                && fullest >= crowded::CROWD
                && crowded::pack(output, offset, &packing, &self.scratch, write)?;
            if !is_packed {
                squash::pack(Input::Tar(write), output, offset, &packing)?;
            }
        } else {
            if !self.mksquashfs_arguments.is_empty() {
                return Err(Error::Squash(
                    "--mksquashfs-args needs mksquashfs 4.5 or later (squashfs-tools)".to_owned(),
                ));
            }
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
            .map_err(Error::file(output))?;
        let objects = [
            (DataType::Definition, "", definition),
            (DataType::GenericJson, "inspect-metadata.json", inspected),
        ];
        self.write_sif(objects, architecture, &file)
            .map_err(|source| Error::Sif {
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

    /// Writes an image's files to an empty directory. Returns a message about entries that were
    /// left out.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged, or a file cannot be written.
    pub fn sandbox(
        &self,
        image: &Image,
        blobs: &dyn Blobs,
        output: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<String>, Error> {
        let (merged, _, ours) = self.merge(image, blobs, output)?;
        let told = Progressed::new(progress, Some(merged.size()));
        sandbox::unpack(output, self.keeps_owners, |tar| {
            merged.write(image, blobs, &ours, self.flat(), told.writer(tar))?;
            Ok(())
        })?;
        Ok(merged.notes())
    }
}

/// Unpacks a squashfs into an empty directory. `path` is the image's name in error messages. Files
/// keep their owners if `keeps_owners` is set; else the caller becomes their owner.
///
/// # Errors
///
/// Fails when the image is damaged, or a file cannot be made.
pub fn unpack(
    squashed: &image::Squashed,
    path: &Path,
    into: &Path,
    keeps_owners: bool,
) -> Result<(), Error> {
    match squashfs::extract(&squashed.filesystem, into, keeps_owners) {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Unpack {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Reports how much of a tar has been packed.
struct Progressed(Box<dyn Task>);

impl Progressed {
    fn new(progress: &dyn Progress, total: Option<u64>) -> Self {
        Self(progress.begin("squashfs", total))
    }

    fn writer<'a>(&'a self, inner: &'a mut dyn Write) -> impl Write + 'a {
        struct Counting<'a>(&'a mut dyn Write, &'a dyn Task);
        impl Write for Counting<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let count = self.0.write(bytes)?;
                self.1.advance(count as u64);
                Ok(count)
            }
            fn flush(&mut self) -> io::Result<()> {
                self.0.flush()
            }
        }
        Counting(inner, self.0.as_ref())
    }
}

/// Makes a SIF executable: its first line names the program that runs it.
///
/// # Errors
///
/// Fails when the file's mode cannot be changed.
pub fn make_program(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    let mode = fs::Permissions::from_mode(0o777 & !mask.bits());
    fs::set_permissions(path, mode).map_err(Error::file(path))
}

/// Returns the image's identity. It is the same for the same content and time, and has the form of
/// a custom UUID (RFC 9562, version 8).
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
