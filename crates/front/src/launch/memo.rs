//! Results about an image that are computed once, and stored in the cache.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

use anyhow::Result;
use cache::{Cache, Kind};
use image::RootFs;
use inject::Mount;

/// Largest size of a result, in bytes.
const LONGEST: u64 = 4 << 20;

/// Returns a text that identifies the image and its state. Returns `None` for the built-in image,
/// which has none.
pub fn stamp(root: &RootFs) -> io::Result<Option<String>> {
    match root {
        RootFs::Embedded(_) => Ok(None),
        RootFs::Squashfs(squashed) => squashed.stamp().map(Some),
        // The installation of a library changes the library's directory, and the loader's cache.
        RootFs::Directory(directory) => {
            let telling = [
                "/",
                elf::CACHE,
                "/lib64",
                "/usr/lib64",
                "/usr/lib",
                "/usr/lib/x86_64-linux-gnu",
                "/usr/lib/aarch64-linux-gnu",
                "/usr/local/lib",
                "/usr/local/cuda/compat",
            ];
            let stamps = telling.iter().map(|path| directory.stamp(Path::new(path)));
            Ok(Some(stamps.collect::<io::Result<Vec<_>>>()?.join(" ")))
        }
    }
}

/// Returns the name of a result, from everything that the result depends on.
pub fn key(parts: &[&str]) -> String {
    let digest = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, env!("CARGO_PKG_VERSION"), parts).hash(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}", digest(0), digest(1))
}

/// Whether all files that a result would bind still exist.
pub fn is_there(mounts: &[Mount]) -> bool {
    mounts.iter().all(|mount| mount.host_path.exists())
}

/// Returns the stored result if there is one that is still valid. Otherwise computes and stores it.
pub fn answer<T>(
    key: &str,
    cache: &Path,
    read: impl FnOnce(&[u8]) -> Option<T>,
    write: impl FnOnce(&T) -> io::Result<Vec<u8>>,
    compute: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let cache = Cache::new(cache.to_owned());
    if let Some(bytes) = cache.read(Kind::Discovery, key, LONGEST)? {
        if let Some(known) = read(&bytes) {
            return Ok(known);
        }
        let _ = cache.remove(Kind::Discovery, key);
    }
    let new = compute()?;
    let kept = cache.get(Kind::Discovery, key, |path| fs::write(path, write(&new)?));
    if let Err::<_, io::Error>(error) = kept {
        tracing::debug!(%error, "not kept");
    }
    Ok(new)
}
