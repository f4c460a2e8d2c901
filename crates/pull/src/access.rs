//! Converts a source to a file. Content that was fetched or made once is reused.

use std::fs::File;
use std::path::{Path, PathBuf};

use cache::{Cache, Kind};
use oci::{Archive, Blobs, Digest, Image, Layout, Platform};
use pack::Build;
use progress::Progress;
use registry::{Daemon, Reference, Registry, Web};

use crate::Error;
use crate::cached_blobs::{CachedBlobs, open_part};
use crate::source::Source;

/// The parameters for access to sources.
pub struct Access<'a> {
    /// The platform for which images are chosen.
    pub platform: Platform,
    /// A directory for temporary files.
    pub scratch: PathBuf,
    /// The cache.
    pub cache: &'a Cache,
    /// The options for access to registries.
    pub network: registry::Options,
    /// The address of the library for `library://`, if there is one.
    pub library: Option<String>,
    /// The socket of the docker daemon.
    pub daemon: PathBuf,
    /// The receiver of progress reports.
    pub progress: &'a dyn Progress,
}

impl std::fmt::Debug for Access<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("platform", &self.platform)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// An image, and the place of its blobs.
pub struct Opened<'a> {
    image: Image,
    blobs: Origin<'a>,
}

enum Origin<'a> {
    Local(Box<dyn Blobs>),
    Registry(Box<CachedBlobs<'a>>),
}

impl std::fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Opened").field(self.image()).finish()
    }
}

impl Opened<'_> {
    /// Returns the image.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Returns the image's blobs.
    #[must_use]
    pub fn blobs(&self) -> &dyn Blobs {
        match &self.blobs {
            Origin::Local(blobs) => blobs.as_ref(),
            Origin::Registry(blobs) => blobs.as_ref(),
        }
    }

    /// Calls `act` with the image. If a blob in the cache is damaged, for example after a crash of
    /// the machine, the blob is fetched again.
    ///
    /// # Errors
    ///
    /// Fails as `act` does.
    pub fn with<T>(
        &self,
        act: impl Fn(&Image, &dyn Blobs) -> Result<T, pack::Error>,
    ) -> Result<T, pack::Error> {
        let result = act(&self.image, self.blobs());
        match (&result, &self.blobs) {
            (Err(pack::Error::Oci(oci::Error::Layer { .. })), Origin::Registry(blobs))
                if blobs.forget_damaged(&self.image.layers) =>
            {
                act(&self.image, blobs.as_ref())
            }
            _ => result,
        }
    }
}

/// The media type of a SIF in a registry, as used by Apptainer.
pub const SIF_LAYER: &str = "application/vnd.sylabs.sif.layer.v1.sif";

impl<'a> Access<'a> {
    /// Returns a SIF for a source: from the cache, fetched, or made with `build`.
    ///
    /// # Errors
    ///
    /// Fails when the source cannot be reached or read, or the SIF cannot be made.
    pub fn sif(&self, source: &Source, build: &Build) -> Result<PathBuf, Error> {
        let platform = &self.platform;
        let known_as = format!(
            "{source} {} {:?} {}",
            platform.architecture,
            platform.variants,
            build.manner()
        );
        match self.sif_by_state(source, build, &known_as) {
            Ok(path) => {
                self.cache.record(&known_as, &path);
                Ok(path)
            }
            Err(error) if error.is_unreachable() => match self.cache.lookup(&known_as) {
                Some(path) => {
                    self.progress.note(&format!(
                        "{}; using what it was when last seen",
                        text::one_line(&error)
                    ));
                    Ok(path)
                }
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Returns the SIF from the cache if the source is known to be unchanged.
    fn sif_by_state(
        &self,
        source: &Source,
        build: &Build,
        known_as: &str,
    ) -> Result<PathBuf, Error> {
        let Some(state) = self.state(source)? else {
            return self.sif_by_asking(source, build);
        };
        let known_as = format!("{known_as} {state}");
        if let Some(path) = self.cache.lookup(&known_as) {
            return Ok(path);
        }
        let path = self.sif_by_asking(source, build)?;
        self.cache.record(&known_as, &path);
        Ok(path)
    }

    /// Returns a text that changes with the source, without fetching the source. Returns `None`
    /// when there is no such text, or when fetching is as fast.
    fn state(&self, source: &Source) -> Result<Option<String>, Error> {
        Ok(match source {
            Source::Docker(reference) | Source::Oras(reference) => {
                reference.digest().map(str::to_owned)
            }
            Source::OciArchive(path, _) | Source::DockerArchive(path, _) => state(path).ok(),
            Source::DockerDaemon(name) => {
                let id = Daemon::new(self.daemon.clone())?.identify(name)?;
                Some(id.to_string())
            }
            _ => None,
        })
    }

    fn sif_by_asking(&self, source: &Source, build: &Build) -> Result<PathBuf, Error> {
        match source {
            Source::Oras(reference) => self.oras(reference),
            Source::Library(name) => {
                let address = self.library_address(name)?;
                self.download(Kind::Library, &address)
            }
            Source::Net(address) => self.download(Kind::Net, address),
            _ => self.convert(source, build),
        }
    }

    /// Returns a SIF for an ext3 image in a file. The image is converted again when the file has
    /// changed.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged, or the SIF cannot be made.
    pub fn sif_of_ext(&self, path: &Path, offset: u64, build: &Build) -> Result<PathBuf, Error> {
        let state = state(path).map_err(Error::file(path))?;
        let name = Digest::of(format!("{state} {offset} {}", build.manner()).as_bytes());
        self.cache.get(Kind::Image, name.hex(), |output| {
            self.progress.note("Converting an ext3 image to SIF format");
            if let Some(note) = build.sif_of_ext(path, offset, output, self.progress)? {
                self.progress.note(&note);
            }
            Ok(())
        })
    }

    fn convert(&self, source: &Source, build: &Build) -> Result<PathBuf, Error> {
        let opened = self.open(source)?;
        self.cache
            .get(Kind::Image, &build.name(opened.image()), |path| {
                self.progress.note("Converting OCI blobs to SIF format");
                if let Some(note) =
                    opened.with(|image, blobs| build.sif(image, blobs, path, self.progress))?
                {
                    self.progress.note(&note);
                }
                Ok(())
            })
    }

    /// Opens a source whose image has layers.
    ///
    /// # Errors
    ///
    /// Fails when the source is missing or invalid, or has no image of that name or for the
    /// platform.
    pub fn open(&self, source: &Source) -> Result<Opened<'a>, Error> {
        let platform = &self.platform;
        match source {
            Source::Layout(path, name) => {
                let layout = Layout::open(path)?;
                let image = layout.image(name.as_deref(), platform)?;
                Ok(here(image, layout))
            }
            Source::OciArchive(path, name) | Source::DockerArchive(path, name) => {
                let mut archive = Archive::open(path, &self.scratch)?;
                let image = archive.image(name.as_deref(), platform)?;
                Ok(here(image, archive))
            }
            Source::DockerDaemon(name) => {
                let file = tempfile::tempfile_in(&self.scratch);
                let mut file =
                    file.map_err(|error| Error::file(&self.scratch)(pack::root_cause(error)))?;
                let task = self.progress.begin(name, None);
                Daemon::new(self.daemon.clone())?.save(name, &mut file, task.as_ref())?;
                drop(task);
                let mut archive = Archive::of_file(Path::new(name), file, &self.scratch)?;
                let image = archive.image(None, platform)?;
                Ok(here(image, archive))
            }
            Source::Docker(reference) => {
                let registry = Registry::new(reference, &self.network)?;
                let text = registry.manifest()?;
                let blobs = CachedBlobs::new(registry, self.cache, self.progress);
                let image = Image::read(&blobs, &text, platform)?;
                Ok(Opened {
                    image,
                    blobs: Origin::Registry(Box::new(blobs)),
                })
            }
            Source::Oras(_) | Source::Library(_) | Source::Net(_) => {
                Err(Error::NoLayers(source.to_string()))
            }
        }
    }

    /// Returns a SIF that a registry keeps as the only layer of an artifact.
    fn oras(&self, reference: &Reference) -> Result<PathBuf, Error> {
        let registry = Registry::new(reference, &self.network)?;
        let text = registry.manifest()?;
        let layers = oci::artifact(&text)?;
        let is_sif = |(kind, _): &&(String, oci::Layer)| kind == SIF_LAYER;
        let (_, layer) = match layers.iter().find(is_sif) {
            Some(found) => found,
            None => return Err(Error::NoSif(reference.whole())),
        };
        self.cache.get(Kind::Oras, layer.digest.hex(), |part| {
            let task = self.progress.begin(&reference.whole(), layer.size);
            let mut file = open_part(part)?;
            registry.blob(&layer.digest, layer.size, &mut file, task.as_ref())?;
            pack::make_program(part)?;
            Ok(())
        })
    }

    /// Returns the file at an address, which is fetched again when it has changed.
    fn download(&self, kind: Kind, address: &str) -> Result<PathBuf, Error> {
        let web = Web::new(&self.network)?;
        let page = web.look(address)?;
        let fetch = |part: &Path| {
            let task = self.progress.begin(address, page.size);
            let mut file = open_part(part)?;
            web.fetch(address, &page, &mut file, task.as_ref())?;
            is_image(&mut file, address)?;
            Ok(pack::make_program(part)?)
        };
        let name = |state: &str| Digest::of(format!("{address} {state}").as_bytes());
        match &page.mark {
            Some(mark) => {
                let name = name(&format!("{mark} {:?}", page.size));
                self.cache.get(kind, name.hex(), fetch)
            }
            // Nothing shows whether the file has changed, so it replaces the one in the cache.
            None => self.cache.renew(kind, name("").hex(), fetch),
        }
    }

    /// Returns the address of an image in a library (Sylabs' library API, version 1).
    fn library_address(&self, name: &str) -> Result<String, Error> {
        let Some(base) = &self.library else {
            return Err(Error::NoLibrary(name.to_owned()));
        };
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (name, "latest"),
        };
        let path = path.trim_matches('/');
        let path = match path.matches('/').count() {
            0 => format!("library/default/{path}"),
            1 => format!("library/{path}"),
            _ => path.to_owned(),
        };
        let base = base.trim_end_matches('/');
        let architecture = &self.platform.architecture;
        Ok(format!(
            "{base}/v1/imagefile/{path}:{tag}?arch={architecture}"
        ))
    }
}

/// Returns a text that changes with a file. The device number is left out, because a shared file
/// system has another number on each machine.
fn state(path: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let stat = std::fs::metadata(path)?;
    Ok(format!(
        "{} {}.{} {}",
        stat.ino(),
        stat.mtime(),
        stat.mtime_nsec(),
        stat.len()
    ))
}

fn here<'a>(image: Image, blobs: impl Blobs + 'static) -> Opened<'a> {
    Opened {
        image,
        blobs: Origin::Local(Box::new(blobs)),
    }
}

/// An HTML page is not an image.
fn is_image(file: &mut File, address: &str) -> Result<(), Error> {
    use std::os::unix::fs::FileExt;
    let mut start = [0; 2048];
    let count = file.read_at(&mut start, 0)?;
    let start = start.get(..count).unwrap_or_default();
    match image::is_known(start) {
        true => Ok(()),
        false => Err(Error::NoSif(address.to_owned())),
    }
}
