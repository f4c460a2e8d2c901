//! Answers about an image that are worked out once, and kept in the cache.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

use anyhow::Result;
use image::{Cache, Kind, RootFs};
use inject::Mount;

/// The most bytes of an answer.
const LONGEST: u64 = 4 << 20;

/// Says which image it is, and in which state; `None` for one that has nothing to look at.
pub fn stamp(root: &RootFs) -> io::Result<Option<String>> {
    match root {
        RootFs::Embedded(_) => Ok(None),
        RootFs::Squashfs(squashed) => squashed.stamp().map(Some),
        // What installs a library changes its directory, and the loader's cache.
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

/// Names an answer by all that it depends on.
pub fn key(parts: &[&str]) -> String {
    let digest = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, env!("CARGO_PKG_VERSION"), parts).hash(&mut hasher);
        hasher.finish()
    };
    format!("{:016x}{:016x}", digest(0), digest(1))
}

/// Whether all that an answer would have bound is still there.
pub fn is_there(mounts: &[Mount]) -> bool {
    mounts.iter().all(|mount| mount.host_path.exists())
}

/// Returns the answer of that name, if there is one that still holds; else works it out and keeps it.
pub fn answer<T>(
    key: &str,
    cache: &Path,
    read: impl FnOnce(&[u8]) -> Option<T>,
    write: impl FnOnce(&T) -> io::Result<Vec<u8>>,
    work_out: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let cache = Cache::new(cache.to_owned());
    if let Some(bytes) = cache.read(Kind::Discovery, key, LONGEST)? {
        if let Some(known) = read(&bytes) {
            return Ok(known);
        }
        let _ = cache.remove(Kind::Discovery, key);
    }
    let new = work_out()?;
    let kept = cache.get(Kind::Discovery, key, |path| fs::write(path, write(&new)?));
    if let Err::<_, io::Error>(error) = kept {
        tracing::debug!(%error, "not kept");
    }
    Ok(new)
}
