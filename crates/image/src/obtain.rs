//! From a source to a file: what is fetched or made once is there for all later.

use std::fs::File;
use std::path::{Path, PathBuf};

use oci::{Archive, Blobs, Digest, Image, Layout, Platform};
use registry::{Daemon, Progress, Reference, Registry, Web};

use crate::cache::{Cache, Kind};
use crate::pack::{Build, BuildError};
use crate::remote::{Remote, open_part};
use crate::source::Source;

/// What is needed to reach sources.
pub struct Access<'a> {
    /// What images are chosen by.
    pub platform: Platform,
    /// A directory with room for what is needed only for a while.
    pub scratch: PathBuf,
    /// What is there already.
    pub cache: &'a Cache,
    /// How registries are reached.
    pub network: registry::Options,
    /// The address of the library that `library://` means, if there is one.
    pub library: Option<String>,
    /// The socket of the docker daemon.
    pub daemon: PathBuf,
    /// Who is told.
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

/// An image and where its blobs are.
pub struct Opened<'a> {
    image: Image,
    blobs: Place<'a>,
}

enum Place<'a> {
    Here(Box<dyn Blobs>),
    There(Box<Remote<'a>>),
}

impl std::fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Opened").field(self.image()).finish()
    }
}

impl Opened<'_> {
    /// The image.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Its blobs.
    #[must_use]
    pub fn blobs(&self) -> &dyn Blobs {
        match &self.blobs {
            Place::Here(blobs) => blobs.as_ref(),
            Place::There(blobs) => blobs.as_ref(),
        }
    }

    /// Does something with it. Where a blob in the cache turns out to be damaged, as after a machine's
    /// sudden end, it is fetched again.
    ///
    /// # Errors
    ///
    /// Fails as what is done.
    pub fn with<T>(
        &self,
        act: impl Fn(&Image, &dyn Blobs) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let result = act(&self.image, self.blobs());
        match (&result, &self.blobs) {
            (Err(BuildError::Image(oci::Error::Layer { .. })), Place::There(remote))
                if remote.forget_damaged(&self.image.layers) =>
            {
                act(&self.image, remote.as_ref())
            }
            _ => result,
        }
    }
}

/// What a SIF in a registry is said to be, as Apptainer has it.
pub const SIF_LAYER: &str = "application/vnd.sylabs.sif.layer.v1.sif";

impl<'a> Access<'a> {
    /// Returns a SIF of what a source has: from the cache, fetched, or made as `build` says.
    ///
    /// # Errors
    ///
    /// Fails when the source cannot be reached or read, or the SIF not be made.
    pub fn sif(&self, source: &Source, build: &Build) -> Result<PathBuf, BuildError> {
        let platform = &self.platform;
        let known_as = format!(
            "{source} {} {:?} {}",
            platform.architecture,
            platform.variants,
            build.manner()
        );
        match self.sif_by_state(source, build, &known_as) {
            Ok(path) => {
                self.cache.remember(&known_as, &path);
                Ok(path)
            }
            Err(error) if error.is_unreachable() => match self.cache.recall(&known_as) {
                Some(path) => {
                    self.progress
                        .note(&format!("{error}; using what it was when last seen"));
                    Ok(path)
                }
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// From the cache, if the source is known to be what it was.
    fn sif_by_state(
        &self,
        source: &Source,
        build: &Build,
        known_as: &str,
    ) -> Result<PathBuf, BuildError> {
        let Some(state) = self.state(source)? else {
            return self.sif_by_asking(source, build);
        };
        let known_as = format!("{known_as} {state}");
        if let Some(path) = self.cache.recall(&known_as) {
            return Ok(path);
        }
        let path = self.sif_by_asking(source, build)?;
        self.cache.remember(&known_as, &path);
        Ok(path)
    }

    /// What tells whether a source still is what it was, without having it; `None` where nothing does, or
    /// where having it is as fast.
    fn state(&self, source: &Source) -> Result<Option<String>, BuildError> {
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

    fn sif_by_asking(&self, source: &Source, build: &Build) -> Result<PathBuf, BuildError> {
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

    /// Returns a SIF of an ext3 image, which is a file; converted again when the file has changed.
    ///
    /// # Errors
    ///
    /// Fails when the image is damaged, or the SIF cannot be made.
    pub fn sif_of_ext(
        &self,
        path: &Path,
        offset: u64,
        build: &Build,
    ) -> Result<PathBuf, BuildError> {
        let state = state(path).map_err(BuildError::file(path))?;
        let name = Digest::of(format!("{state} {offset} {}", build.manner()).as_bytes());
        self.cache.get(Kind::Image, name.hex(), |output| {
            self.progress.note("Converting an ext3 image to SIF format");
            if let Some(note) = build.sif_of_ext(path, offset, output, self.progress)? {
                self.progress.note(&note);
            }
            Ok(())
        })
    }

    fn convert(&self, source: &Source, build: &Build) -> Result<PathBuf, BuildError> {
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
    /// Fails when it is not there, is none, or has no image of that name or for the platform.
    pub fn open(&self, source: &Source) -> Result<Opened<'a>, BuildError> {
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
                let mut file = file.map_err(|error| {
                    BuildError::file(&self.scratch)(crate::pack::root_cause(error))
                })?;
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
                let remote = Remote::new(registry, self.cache, self.progress);
                let image = Image::read(&remote, &text, platform)?;
                Ok(Opened {
                    image,
                    blobs: Place::There(Box::new(remote)),
                })
            }
            Source::Oras(_) | Source::Library(_) | Source::Net(_) => {
                Err(BuildError::NoLayers(source.to_string()))
            }
        }
    }

    /// A SIF that a registry keeps as the one layer of an artifact.
    fn oras(&self, reference: &Reference) -> Result<PathBuf, BuildError> {
        let registry = Registry::new(reference, &self.network)?;
        let text = registry.manifest()?;
        let layers = oci::artifact(&text)?;
        let is_sif = |(kind, _): &&(String, oci::Layer)| kind == SIF_LAYER;
        let (_, layer) = match layers.iter().find(is_sif) {
            Some(found) => found,
            None => return Err(BuildError::NoSif(reference.whole())),
        };
        self.cache.get(Kind::Oras, layer.digest.hex(), |part| {
            let task = self.progress.begin(&reference.whole(), layer.size);
            let mut file = open_part(part)?;
            registry.blob(&layer.digest, layer.size, &mut file, task.as_ref())?;
            crate::pack::make_program(part)?;
            Ok(())
        })
    }

    /// What an address has, fetched again when it has changed.
    fn download(&self, kind: Kind, address: &str) -> Result<PathBuf, BuildError> {
        let web = Web::new(&self.network)?;
        let page = web.look(address)?;
        let fetch = |part: &Path| {
            let task = self.progress.begin(address, page.size);
            let mut file = open_part(part)?;
            web.fetch(address, &page, &mut file, task.as_ref())?;
            is_image(&mut file, address)?;
            crate::pack::make_program(part)
        };
        let name = |state: &str| Digest::of(format!("{address} {state}").as_bytes());
        match &page.mark {
            Some(mark) => {
                let name = name(&format!("{mark} {:?}", page.size));
                self.cache.get(kind, name.hex(), fetch)
            }
            // Nothing tells whether it has changed: it takes the place of what was there.
            None => self.cache.renew(kind, name("").hex(), fetch),
        }
    }

    /// Where a library has an image (Sylabs' library API, version 1).
    fn library_address(&self, name: &str) -> Result<String, BuildError> {
        let Some(base) = &self.library else {
            return Err(BuildError::NoLibrary(name.to_owned()));
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

/// What changes when a file changes. The device of a file system that is shared has another number on
/// each machine.
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
        blobs: Place::Here(Box::new(blobs)),
    }
}

/// A page for people is no image.
fn is_image(file: &mut File, address: &str) -> Result<(), BuildError> {
    use std::os::unix::fs::FileExt;
    let mut start = [0; 2048];
    let count = file.read_at(&mut start, 0)?;
    let start = start.get(..count).unwrap_or_default();
    match crate::open::is_known(start) {
        true => Ok(()),
        false => Err(BuildError::NoSif(address.to_owned())),
    }
}
