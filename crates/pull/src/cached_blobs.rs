//! The blobs of an image in a registry, which are kept in the cache.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cache::{Cache, Kind};
use oci::{Blobs, Digest, Layer};
use progress::{Progress, Silent};
use registry::Registry;

/// Number of layers that are fetched at the same time.
const AT_ONCE: usize = 6;

/// A repository of a registry, behind the cache.
pub(crate) struct CachedBlobs<'a> {
    registry: Registry,
    cache: &'a Cache,
    progress: &'a dyn Progress,
}

/// Why a blob cannot be fetched.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Network(#[from] registry::Error),
    #[error("the cache")]
    Cache(#[from] io::Error),
}

impl From<Failure> for oci::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Network(error) => Self::Fetch(Box::new(error)),
            other => Self::Fetch(Box::new(other)),
        }
    }
}

impl<'a> CachedBlobs<'a> {
    pub(crate) fn new(registry: Registry, cache: &'a Cache, progress: &'a dyn Progress) -> Self {
        Self {
            registry,
            cache,
            progress,
        }
    }

    fn fetch(&self, digest: &Digest, size: Option<u64>) -> Result<PathBuf, Failure> {
        self.cache.get(Kind::Blob, digest.hex(), |part| {
            let short = digest.hex().get(..12).unwrap_or_default();
            // A document is too small for a progress report.
            let task = match size {
                Some(_) => self.progress.begin(short, size),
                None => Box::new(Silent),
            };
            let mut file = open_part(part)?;
            let fetched = self.registry.blob(digest, size, &mut file, task.as_ref());
            if let Err(registry::Error::Content { .. }) = &fetched {
                // The next attempt cannot use these bytes.
                file.set_len(0)?;
            }
            Ok(fetched?)
        })
    }

    /// Removes the layers from the cache whose content does not match their digest. Returns whether
    /// there was one.
    pub(crate) fn forget_damaged(&self, layers: &[Layer]) -> bool {
        let mut any = false;
        for layer in layers {
            let path = self.cache.path(Kind::Blob, layer.digest.hex());
            let Ok(file) = File::open(path) else {
                continue;
            };
            if digest_of(file).is_ok_and(|found| found != layer.digest) {
                any |= self.cache.remove(Kind::Blob, layer.digest.hex()).is_ok();
            }
        }
        any
    }
}

pub(crate) fn open_part(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn digest_of(mut file: File) -> io::Result<Digest> {
    let mut hasher = oci::Hasher::default();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.digest()),
            count => hasher.update(chunk.get(..count).unwrap_or_default()),
        }
    }
}

impl Blobs for CachedBlobs<'_> {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, oci::Error> {
        let path = self.fetch(digest, None)?;
        let file = File::open(path).map_err(Failure::Cache)?;
        Ok(Box::new(file))
    }

    fn manifest(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, oci::Error> {
        let path = self.cache.get(Kind::Blob, digest.hex(), |part| {
            let text = self.registry.manifest_of(digest)?;
            std::fs::write(part, text).map_err(Failure::Cache)
        })?;
        let file = sys::open_regular(&path).map_err(Failure::Cache)?;
        Ok(Box::new(file))
    }

    /// Fetches several layers at the same time, because a registry limits the rate of each
    /// connection.
    fn prepare(&self, layers: &[Layer]) -> Result<(), oci::Error> {
        let rest = Mutex::new(layers.iter());
        let next = || rest.lock().ok().and_then(|mut rest| rest.next());
        let failure: Mutex<Option<Failure>> = Mutex::new(None);
        let has_failed = || failure.lock().is_ok_and(|failure| failure.is_some());
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(layers.len()) {
                scope.spawn(|| {
                    while let Some(layer) = next().filter(|_| !has_failed()) {
                        if let Err(error) = self.fetch(&layer.digest, layer.size)
                            && let Ok(mut failure) = failure.lock()
                        {
                            failure.get_or_insert(error);
                        }
                    }
                });
            }
        });
        match failure.into_inner() {
            Ok(Some(failure)) => Err(failure.into()),
            _ => Ok(()),
        }
    }
}
